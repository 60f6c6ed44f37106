"""The table of who may do what: kind by token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.access.capabilities import Access, effective, granted
from polyglotd.access.grant import UserGrant
from polyglotd.model import BUILT_IN_KINDS, Forbidden, Policy

J, P, S = "join", "publish", "presence"


def grant(channels):
    capabilities = None if channels is None else {pattern: frozenset(names) for pattern, names in channels.items()}
    return UserGrant("ann", "chat-app", capabilities, None, None, 0, 1, "sec_1")


def access(policy, channels, channel="room:lobby"):
    decided = effective(policy, grant(channels), channel)
    return {
        name
        for name, may in zip((J, P, S), (decided.may_join, decided.may_publish, decided.sees_presence), strict=True)
        if may
    }


@pytest.mark.parametrize(
    ("kind", "allowed"), [("room", {J, P, S}), ("ticker", {J}), ("match", {J, P, S}), ("post", {J, P, S})]
)
def test_without_channels_in_the_token_the_kind_decides(kind, allowed):
    assert access(BUILT_IN_KINDS[kind], None, f"{kind}:x") == allowed


@pytest.mark.parametrize("presence", ["none", "count", "roster"])
@pytest.mark.parametrize("publish", ["any", "capability", "none"])
@pytest.mark.parametrize("join", ["any", "capability"])
@pytest.mark.parametrize("names", [None, (), (J,), (P,), (S,), (J, P), (J, S), (P, S), (J, P, S)], ids=str)
def test_every_kind_of_policy_under_every_kind_of_token(join, publish, presence, names):
    """Spelled out once more, from the contract's words."""
    policy = Policy(join=join, publish=publish, presence=presence)
    if names is None:
        expected = {J} if join == "any" else set()
        expected |= {P} if join == "any" and publish == "any" else set()
        expected |= {S} if join == "any" else set()
    else:
        expected = set(names) - ({P} if publish == "none" else set())
    if presence == "none":
        expected -= {S}

    assert access(policy, None if names is None else {"room:*": names}) == expected


@pytest.mark.parametrize(
    ("channels", "channel", "allowed"),
    [
        pytest.param({"room:*": [J], "room:lobby": [P]}, "room:lobby", {J, P}, id="patterns add up"),
        pytest.param(
            {"room:*": [J, P], "room:lobby": []}, "room:lobby", {J, P}, id="an empty one takes nothing away"
        ),
        pytest.param({"room:*": [J], "room:lobby": [P]}, "room:other", {J}, id="an exact one is for itself"),
        pytest.param({"room:team-*": [J]}, "room:team-7", {J}, id="a prefix"),
        pytest.param({"room:team-*": [J]}, "room:team-", {J}, id="a prefix without more"),
        pytest.param({"room:team-*": [J]}, "room:tea", set(), id="shorter than the prefix"),
        pytest.param({"room:lobby": [J]}, "room:lobby2", set(), id="no star, no prefix"),
        pytest.param({"room:*": [J]}, "rooms:x", set(), id="the colon belongs to it"),
        pytest.param({"ticker:*": [J]}, "room:x", set(), id="another kind"),
        pytest.param({}, "room:x", set(), id="nothing at all"),
    ],
)
def test_matching_patterns_add_up_and_are_the_limit(channels, channel, allowed):
    policy = Policy(presence="roster")

    assert access(policy, channels, channel) == allowed


def test_a_private_kind_is_closed_to_a_token_without_channels_for_publishing_too():
    assert access(Policy(join="capability", publish="any", presence="roster"), None) == set()


NAMES = st.frozensets(st.sampled_from([J, P, S]))
CHANNELS = st.dictionaries(st.sampled_from(["room:*", "room:a*", "room:ab", "room:b"]), NAMES)


@given(CHANNELS, CHANNELS, st.sampled_from(["room:ab", "room:b", "room:c"]))
def test_a_token_with_more_patterns_never_allows_less(fewer, more, channel):
    both = {pattern: fewer.get(pattern, frozenset()) | more.get(pattern, frozenset()) for pattern in fewer | more}

    assert granted(fewer, channel) <= granted(both, channel)


@given(CHANNELS, st.sampled_from(["room:ab", "room:b", "room:c"]))
def test_a_policy_never_adds_to_what_a_token_names(channels, channel):
    for policy in BUILT_IN_KINDS.values():
        assert access(policy, channels, channel) <= granted(channels, channel)


def test_what_is_not_allowed_is_refused_by_its_name():
    nothing, all_of_it = Access(False, False, False), Access(True, True, True)
    for check, name in (("check_join", J), ("check_publish", P), ("check_presence", S)):
        getattr(all_of_it, check)()
        with pytest.raises(Forbidden, match=f"allow {name}"):
            getattr(nothing, check)()
