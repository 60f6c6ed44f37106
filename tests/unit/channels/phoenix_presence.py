"""What `Presence` of the npm package phoenix 1.8 does with states and diffs, line by line, without its callbacks."""

from copy import deepcopy
from typing import Any

Presences = dict[str, dict[str, list[dict[str, Any]]]]


def sync_state(current: Presences, new: Presences) -> Presences:
    state, new = deepcopy(current), deepcopy(new)
    joins: Presences = {}
    leaves: Presences = {key: presence for key, presence in state.items() if key not in new}
    for key, presence in new.items():
        if key not in state:
            joins[key] = presence
            continue
        new_refs = [meta["phx_ref"] for meta in presence["metas"]]
        current_refs = [meta["phx_ref"] for meta in state[key]["metas"]]
        joined = [meta for meta in presence["metas"] if meta["phx_ref"] not in current_refs]
        left = [meta for meta in state[key]["metas"] if meta["phx_ref"] not in new_refs]
        if joined:
            joins[key] = {"metas": joined}
        if left:
            leaves[key] = {"metas": left}
    return sync_diff(state, {"joins": joins, "leaves": leaves})


def sync_diff(state: Presences, diff: dict[str, Presences]) -> Presences:
    diff = deepcopy(diff)
    for key, presence in diff["joins"].items():
        current = state.get(key)
        state[key] = deepcopy(presence)
        if current is not None:
            joined_refs = [meta["phx_ref"] for meta in presence["metas"]]
            stay = [meta for meta in current["metas"] if meta["phx_ref"] not in joined_refs]
            state[key]["metas"][:0] = stay
    for key, left in diff["leaves"].items():
        current = state.get(key)
        if current is None:
            continue
        left_refs = [meta["phx_ref"] for meta in left["metas"]]
        current["metas"] = [meta for meta in current["metas"] if meta["phx_ref"] not in left_refs]
        if not current["metas"]:
            del state[key]
    return state
