"""Presence: the shapes that Phoenix clients know, the border between names and a count; that all clients agree."""

import json
from typing import Any

import pytest
from channel_events import STATEFUL
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from phoenix_presence import Presences, sync_diff, sync_state

from polyglotd.broker.interface import PresenceChange, PresenceMeta
from polyglotd.channels.presence import Diff, Refs, Roster, State, gather_delay_s


def meta(ref: str, info: bytes | None = None, prev_ref: str | None = None) -> PresenceMeta:
    return PresenceMeta(ref, info, prev_ref)


def taken(roster: Roster) -> dict[str, Any]:
    """The diff that has gathered, as clients read it."""
    diff = roster.take()
    assert isinstance(diff, Diff)
    return json.loads(diff.payload)


def roster_of(*users: str, presence_max: int = 500) -> Roster:
    """A roster that has been shown, with one connection a user: `ann` has the ref `ann-1`."""
    roster = Roster("roster", presence_max, Refs())
    for user in users:
        roster.join(user, meta(f"{user}-1"))
    roster.take()
    return roster


def test_the_state_is_one_meta_a_connection_with_info_byte_for_byte() -> None:
    roster = Roster("roster", 500, Refs())
    roster.join("ann", meta("r1", b'{"n":1.10, "big":12345678901234567890}'))
    roster.join("ann", meta("r2"))
    roster.join('b"b', meta("r3", None, "r0"))
    assert roster.state() == (
        b'{"ann":{"metas":[{"phx_ref":"r1","info":{"n":1.10, "big":12345678901234567890}},{"phx_ref":"r2"}]},'
        b'"b\\"b":{"metas":[{"phx_ref":"r3","phx_ref_prev":"r0"}]}}'
    )
    assert (roster.members, roster.users) == (3, 2)


def test_an_empty_roster_is_an_empty_map() -> None:
    roster = Roster("roster", 500, Refs())
    assert roster.state() == b"{}"
    assert not roster.pending
    assert roster.take() is None


def test_a_second_device_is_a_join_of_its_meta_alone() -> None:
    roster = roster_of("ann")
    roster.join("ann", meta("ann-2"))
    assert taken(roster) == {"joins": {"ann": {"metas": [{"phx_ref": "ann-2"}]}}, "leaves": {}}


def test_an_update_is_a_leave_of_the_old_meta_and_a_join_that_names_it() -> None:
    roster = roster_of("ann")
    roster.update("ann", "ann-1", meta("ann-2", b'{"away":true}', "ann-1"))
    assert taken(roster) == {
        "joins": {"ann": {"metas": [{"phx_ref": "ann-2", "phx_ref_prev": "ann-1", "info": {"away": True}}]}},
        "leaves": {"ann": {"metas": [{"phx_ref": "ann-1"}]}},
    }


def test_a_chain_of_updates_that_nobody_saw_is_one_step() -> None:
    roster = roster_of("ann")
    for n in range(2, 5):
        roster.update("ann", f"ann-{n - 1}", meta(f"ann-{n}"))
    assert taken(roster) == {
        "joins": {"ann": {"metas": [{"phx_ref": "ann-4", "phx_ref_prev": "ann-1"}]}},
        "leaves": {"ann": {"metas": [{"phx_ref": "ann-1"}]}},
    }


def test_a_join_and_its_update_that_nobody_saw_is_a_plain_join() -> None:
    roster = roster_of("ann")
    roster.join("bob", meta("bob-1"))
    roster.update("bob", "bob-1", meta("bob-2", b"{}"))
    assert taken(roster) == {"joins": {"bob": {"metas": [{"phx_ref": "bob-2", "info": {}}]}}, "leaves": {}}


def test_who_comes_and_goes_unseen_was_never_there() -> None:
    roster = roster_of("ann")
    roster.join("bob", meta("bob-1"))
    roster.leave("bob", "bob-1")
    assert not roster.pending
    assert roster.take() is None


def test_who_was_shown_to_a_newcomer_and_goes_is_said_to_have_left() -> None:
    roster = roster_of("ann")
    roster.join("bob", meta("bob-1"))
    assert b"bob-1" in roster.state()
    roster.leave("bob", "bob-1")
    assert taken(roster) == {"joins": {}, "leaves": {"bob": {"metas": [{"phx_ref": "bob-1"}]}}}


def test_a_connection_that_is_taken_for_gone_and_comes_again_has_not_gone() -> None:
    roster = roster_of("ann")
    roster.leave("ann", "ann-1")
    roster.join("ann", meta("ann-1"))
    assert taken(roster) == {"joins": {"ann": {"metas": [{"phx_ref": "ann-1"}]}}, "leaves": {}}


def test_changes_of_refs_that_are_there_already_or_are_not_there_do_nothing() -> None:
    roster = roster_of("ann")
    roster.join("ann", meta("ann-1", b"{}"))
    roster.leave("ann", "nope")
    roster.leave("bob", "ann-1")
    assert not roster.pending
    assert roster.members == 1


def test_an_update_of_a_ref_that_is_not_there_is_a_join() -> None:
    roster = roster_of("ann")
    roster.update("bob", "nope", meta("bob-2"))
    assert taken(roster) == {"joins": {"bob": {"metas": [{"phx_ref": "bob-2"}]}}, "leaves": {}}


def test_a_brokers_change_is_a_join_a_leave_or_an_update() -> None:
    roster = Roster("roster", 500, Refs())
    for change in [
        PresenceChange("app", "room:a", "ann", meta("r1"), None),
        PresenceChange("app", "room:a", "bob", meta("r2"), None),
        PresenceChange("app", "room:a", "ann", meta("r3", b"1", "r1"), "r1"),
        PresenceChange("app", "room:a", "bob", None, "r2"),
        PresenceChange("app", "room:a", "bob", None, None),
    ]:
        roster.apply(change.user_id, change.joined, change.left)
    assert json.loads(roster.state()) == {"ann": {"metas": [{"phx_ref": "r3", "info": 1}]}}


@pytest.mark.parametrize("user", ["__proto__", "constructor", "ünï", "\U0001f600", "a\\b", "</script>"])
def test_any_user_id_is_a_key(user: str) -> None:
    roster = Roster("roster", 500, Refs())
    roster.join(user, meta("r1"))
    assert json.loads(roster.state()) == {user: {"metas": [{"phx_ref": "r1"}]}}


def count_of(payload: bytes) -> int:
    state = json.loads(payload)
    assert list(state) == [""]
    (only,) = state[""]["metas"]
    assert sorted(only) == ["count", "phx_ref"]
    return only["count"]


def test_a_count_is_one_meta_under_the_empty_key_and_changes_as_a_leave_and_a_join() -> None:
    roster = Roster("count", 500, Refs())
    roster.join("ann", meta("r1", b'{"secret":1}'))
    roster.join("ann", meta("r2"))
    assert count_of(roster.state()) == 2
    first = taken(roster)
    roster.leave("ann", "r1")
    second = taken(roster)
    assert [first["joins"][""]["metas"][0]["count"], second["joins"][""]["metas"][0]["count"]] == [2, 1]
    assert second["leaves"] == first["joins"]
    assert second["joins"][""]["metas"][0]["phx_ref"] != first["joins"][""]["metas"][0]["phx_ref"]


def test_a_count_that_came_back_to_what_all_know_is_said_only_where_somebody_saw_another() -> None:
    roster = Roster("count", 500, Refs())
    roster.join("ann", meta("r1"))
    roster.take()
    roster.join("bob", meta("r2"))
    roster.leave("bob", "r2")
    assert roster.take() is None
    roster.join("bob", meta("r2"))
    assert count_of(roster.state()) == 2
    roster.leave("bob", "r2")
    assert taken(roster)["joins"][""]["metas"][0]["count"] == 1
    assert not roster.pending


def test_a_roster_over_its_bound_counts_until_it_is_below_four_fifths_of_it() -> None:
    roster = roster_of(*(f"u{n}" for n in range(10)), presence_max=10)
    assert not roster.count_only
    roster.join("one too many", meta("r"))
    state = roster.take()
    assert isinstance(state, State)
    assert count_of(state.payload) == 11
    for n in range(3):
        roster.leave(f"u{n}", f"u{n}-1")
    assert isinstance(roster.take(), Diff)
    assert (roster.members, roster.count_only) == (8, True)
    roster.leave("u3", "u3-1")
    state = roster.take()
    assert isinstance(state, State)
    assert sorted(json.loads(state.payload)) == ["one too many", *(f"u{n}" for n in range(4, 10))]


def test_in_a_crowd_nobody_hears_of_who_came_for_whom() -> None:
    roster = roster_of("ann", "bob", "cyd", presence_max=2)
    roster.leave("ann", "ann-1")
    roster.join("dan", meta("dan-1"))
    roster.update("bob", "bob-1", meta("bob-2", b"{}"))
    assert (roster.count_only, roster.pending, roster.take()) == (True, False, None)


def test_a_newcomer_to_a_crowd_gets_the_count_before_the_others_are_told() -> None:
    roster = roster_of("ann", "bob", presence_max=2)
    roster.join("cyd", meta("cyd-1"))
    assert count_of(roster.state()) == 3
    state = roster.take()
    assert isinstance(state, State)
    assert count_of(state.payload) == 3


def test_the_bound_counts_connections_not_users() -> None:
    roster = Roster("roster", 2, Refs())
    for n in range(3):
        roster.join("ann", meta(f"r{n}"))
    assert (roster.users, roster.members, roster.count_only) == (1, 3, True)


def test_a_channel_without_presence_shows_nothing_and_knows_its_members_when_the_policy_changes() -> None:
    roster = Roster("none", 500, Refs())
    roster.join("ann", meta("r1"))
    assert (roster.pending, roster.take(), roster.state()) == (False, None, b"{}")
    roster.reconfigure("roster", 500)
    assert roster.take() == State(b'{"ann":{"metas":[{"phx_ref":"r1"}]}}')
    roster.reconfigure("none", 500)
    assert roster.take() == State(b"{}")


def test_a_policy_that_says_nothing_new_of_presence_sends_nothing() -> None:
    roster = roster_of("ann", "bob", "cyd", presence_max=3)
    roster.reconfigure("roster", 3)
    roster.reconfigure("roster", 100)
    assert roster.take() is None
    roster.reconfigure("roster", 2)
    assert isinstance(roster.take(), State)


def test_a_roster_read_from_the_broker_is_whole_at_once() -> None:
    roster = Roster("roster", 500, Refs())
    roster.join("old", meta("r0"))
    roster.load({"ann": [meta("r1"), meta("r2", b"{}")], "gone": []})
    assert (roster.members, roster.users, roster.pending) == (2, 1, False)
    roster.state()
    roster.load({"bob": [meta("r3")]})
    assert roster.take() == State(b'{"bob":{"metas":[{"phx_ref":"r3"}]}}')


def test_refs_are_unique_short_and_plain() -> None:
    refs, others = Refs(), Refs()
    made = [refs.new() for _ in range(1000)] + [others.new() for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(1 <= len(ref) <= 13 and ref.isascii() and ref.isalnum() for ref in made)


@pytest.mark.parametrize(("members", "delay_s"), [(0, 0.1), (100, 0.1), (101, 1.0)])
def test_diffs_of_a_crowd_are_gathered_for_longer(members: int, delay_s: float) -> None:
    assert gather_delay_s(members) == delay_s


USERS = st.sampled_from(["ann", "bob", "cyd"])
INFOS = st.sampled_from([None, b"{}", b'{"x":1}'])
MODES = st.sampled_from(["roster", "roster", "roster", "count", "none"])
BOUNDS = st.integers(1, 6)


class ClientsAgree(RuleBasedStateMachine):
    """Clients come at any moment, some with what they remember of an earlier visit; after each taking all of them
    have what the model, a plain dict of who is there, has."""

    @initialize(mode=MODES, presence_max=BOUNDS)
    def begin(self, mode: Any, presence_max: int) -> None:
        self.mode, self.presence_max = mode, presence_max
        self.roster = Roster(mode, presence_max, Refs())
        self.connections = 0
        self.said_again: set[str] = set()
        self.there: dict[str, dict[str, bytes | None]] = {}
        self.gone: list[tuple[str, str]] = []
        self.clients: list[Presences] = []
        self.away: list[Presences] = []
        self.crowded = False

    def new_ref(self) -> str:
        self.connections += 1
        return f"r{self.connections:03}"

    def members(self) -> int:
        return sum(len(refs) for refs in self.there.values())

    def judge_crowd(self) -> None:
        if self.mode != "roster":
            self.crowded = False
        elif self.members() > self.presence_max:
            self.crowded = True
        elif self.members() < 0.8 * self.presence_max:
            self.crowded = False

    @rule(user=USERS, info=INFOS)
    def join(self, user: str, info: bytes | None) -> None:
        ref = self.new_ref()
        self.roster.join(user, meta(ref, info))
        self.there.setdefault(user, {})[ref] = info
        self.judge_crowd()

    @precondition(lambda self: self.there)
    @rule(data=st.data(), again=st.booleans())
    def leave(self, data: st.DataObject, again: bool) -> None:
        user = data.draw(st.sampled_from(sorted(self.there)))
        ref = data.draw(st.sampled_from(sorted(self.there[user])))
        self.roster.leave(user, ref)
        info = self.there[user].pop(ref)
        if not self.there[user]:
            del self.there[user]
        self.judge_crowd()
        if again:  # as when a node is taken for dead and is not
            self.roster.join(user, meta(ref, info))
            self.there.setdefault(user, {})[ref] = info
            self.said_again.add(ref)
            self.judge_crowd()
        else:
            self.gone.append((user, ref))

    @precondition(lambda self: self.there)
    @rule(data=st.data(), info=INFOS)
    def update(self, data: st.DataObject, info: bytes | None) -> None:
        user = data.draw(st.sampled_from(sorted(self.there)))
        old = data.draw(st.sampled_from(sorted(self.there[user])))
        new = self.new_ref()
        self.roster.apply(user, meta(new, info, old), old)
        del self.there[user][old]
        self.there[user][new] = info
        self.gone.append((user, old))

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def leave_again(self, data: st.DataObject) -> None:
        self.roster.leave(*data.draw(st.sampled_from(self.gone)))

    @rule(mode=MODES, presence_max=BOUNDS)
    def change_policy(self, mode: Any, presence_max: int) -> None:
        self.roster.reconfigure(mode, presence_max)
        self.mode, self.presence_max = mode, presence_max
        self.judge_crowd()

    @rule()
    def a_client_comes(self) -> None:
        self.clients.append(sync_state({}, json.loads(self.roster.state())))

    @precondition(lambda self: self.clients)
    @rule()
    def a_client_goes(self) -> None:
        self.away.append(self.clients.pop(0))

    @precondition(lambda self: self.away)
    @rule()
    def a_client_comes_back(self) -> None:
        self.clients.append(sync_state(self.away.pop(0), json.loads(self.roster.state())))

    @rule()
    def take(self) -> None:
        taking = self.roster.pending
        message = self.roster.take()
        assert (message is not None) == taking
        assert not self.roster.pending
        if isinstance(message, State):
            self.clients = [sync_state(client, json.loads(message.payload)) for client in self.clients]
        elif isinstance(message, Diff):
            diff = json.loads(message.payload)
            assert diff["joins"] or diff["leaves"]
            for user, joined in diff["joins"].items():
                left = [m["phx_ref"] for m in diff["leaves"].get(user, {"metas": []})["metas"]]
                assert all(m.get("phx_ref_prev") in (None, *left) or user == "" for m in joined["metas"])
            self.clients = [sync_diff(client, diff) for client in self.clients]
        for client in self.clients:
            self.compare(client)
        assert len({json.dumps(self.in_order(client)) for client in self.clients}) <= 1

    def in_order(self, client: Presences) -> list[Any]:
        """Names by key and metas by ref: after a second state the order inside a key is a client's own. What a ref
        that was said again had replaced is forgotten."""
        return [
            (user, sorted((self.known_of(m) for m in p["metas"]), key=lambda m: m["phx_ref"]))
            for user, p in sorted(client.items())
        ]

    def known_of(self, shown: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in shown.items() if k != "phx_ref_prev" or shown["phx_ref"] not in self.said_again}

    def compare(self, client: Presences) -> None:
        if self.mode == "none":
            assert client == {}
        elif self.mode == "count" or self.crowded:
            assert [(user, [m["count"] for m in p["metas"]]) for user, p in client.items()] == [
                ("", [self.members()])
            ]
        else:
            seen = {user: {m["phx_ref"]: m.get("info") for m in p["metas"]} for user, p in client.items()}
            there = {
                user: {ref: None if info is None else json.loads(info) for ref, info in refs.items()}
                for user, refs in self.there.items()
            }
            assert seen == there

    @invariant()
    def counts_the_same(self) -> None:
        assert (self.roster.members, self.roster.users) == (self.members(), len(self.there))

    def teardown(self) -> None:
        if hasattr(self, "roster"):
            self.take()


TestClientsAgree = ClientsAgree.TestCase
TestClientsAgree.settings = STATEFUL
