"""Kinds: the contract's table, and what an app's overrides make of it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import BUILT_IN_KINDS, App, Invalid, Policy, PolicyOverride, apply_override, policy_for

DAY_S = 86_400


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("room", ("any", "any", "roster", 1000, DAY_S, False, "queue", "logged", "log-first")),
        ("ticker", ("any", "capability", "none", 100, 3600, True, "conflate", "memory", "local-first")),
        ("match", ("any", "any", "roster", 100, 3600, False, "drop", "memory", "local-first")),
        ("post", ("any", "any", "count", 10_000, 30 * DAY_S, False, "queue", "logged", "log-first")),
    ],
)
def test_the_built_in_kinds_are_those_of_the_contract(kind: str, expected: tuple[Any, ...]) -> None:
    p = BUILT_IN_KINDS[kind]
    assert expected == (
        p.join,
        p.publish,
        p.presence,
        p.history_events,
        p.history_s,
        p.snapshot,
        p.overflow,
        p.durability,
        p.route,
    )
    assert (p.presence_max, p.retention_s) == (500, 30 * DAY_S)
    assert len(BUILT_IN_KINDS) == 4


def test_an_override_has_the_fields_of_a_policy() -> None:
    assert PolicyOverride.__struct_fields__ == Policy.__struct_fields__


def test_an_override_changes_what_it_names_and_nothing_else() -> None:
    changed = policy_for("room", {"room": PolicyOverride(history_events=5)})
    assert changed == msgspec.structs.replace(BUILT_IN_KINDS["room"], history_events=5)
    assert policy_for("post", {"room": PolicyOverride(history_events=5)}) == BUILT_IN_KINDS["post"]


def test_a_kind_of_the_apps_own_begins_from_the_defaults() -> None:
    app = App("chat-app", kinds={"poll": PolicyOverride(presence="count")})
    assert app.policy("poll") == Policy(presence="count")
    assert app.policy("nope") is None


def test_a_kind_that_is_made_logged_is_log_first() -> None:
    policy = policy_for("poll", {"poll": PolicyOverride(durability="logged")})
    assert policy is not None
    assert policy.route == "log-first"


@pytest.mark.parametrize(
    ("kind", "override", "field"),
    [
        ("room", PolicyOverride(route="local-first"), "route"),
        ("poll", PolicyOverride(durability="logged", route="local-first"), "route"),
        ("room", PolicyOverride(retention_s=DAY_S - 1), "retention_s"),
        ("post", PolicyOverride(history_s=30 * DAY_S + 1), "retention_s"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(kind: str, override: PolicyOverride, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        policy_for(kind, {kind: override})
    assert refused.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        {"join": "all"},
        {"publish": "never"},
        {"presence": None},
        {"presence_max": 0},
        {"presence_max": True},
        {"history_events": -1},
        {"history_events": 1.5},
        {"history_s": "60"},
        {"snapshot": 1},
        {"overflow": "explode"},
        {"durability": "disk"},
        {"retention": 5},
    ],
)
def test_an_override_of_the_wrong_shape_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(body), type=PolicyOverride)


OVERRIDES = st.builds(
    PolicyOverride,
    history_events=st.just(msgspec.UNSET) | st.integers(0, 1000),
    history_s=st.just(msgspec.UNSET) | st.integers(0, 40 * DAY_S),
    retention_s=st.just(msgspec.UNSET) | st.integers(0, 40 * DAY_S),
    snapshot=st.just(msgspec.UNSET) | st.booleans(),
    durability=st.sampled_from([msgspec.UNSET, "logged", "memory"]),
    route=st.sampled_from([msgspec.UNSET, "log-first", "local-first"]),
)


@given(base=st.sampled_from(list(BUILT_IN_KINDS.values())), override=OVERRIDES)
def test_what_comes_out_of_an_override_is_sound_and_survives_json(base: Policy, override: PolicyOverride) -> None:
    assert msgspec.json.decode(msgspec.json.encode(override), type=PolicyOverride) == override
    named = json.loads(msgspec.json.encode(override))
    merged = json.loads(msgspec.json.encode(base)) | named
    too_short = merged["retention_s"] < merged["history_s"]
    two_routes = merged["durability"] == "logged" and named.get("route", "log-first") != "log-first"
    if too_short or two_routes:
        with pytest.raises(Invalid):
            apply_override(base, override)
        return
    policy = apply_override(base, override)
    assert policy.retention_s >= policy.history_s
    assert policy.durability == "memory" or policy.route == "log-first"
    assert {name: getattr(policy, name) for name in named} == named
    assert apply_override(policy, override) == policy
