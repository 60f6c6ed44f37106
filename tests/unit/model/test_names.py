"""Names that users choose: what is well formed, and which field a refusal names."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import (
    EventIds,
    Invalid,
    check_app_id,
    check_channel,
    check_client_event_id,
    check_kind,
    check_pattern,
    check_type,
    check_user_id,
    kind_of,
    pattern_matches,
)

GOOD: list[tuple[Callable[[str], str], list[str]]] = [
    (check_app_id, ["a", "0", "chat-app", "a_b", "a" * 63]),
    (check_kind, ["room", "a", "a-1_b", "a" * 32]),
    (check_channel, ["room:lobby", "room:a:b", "room::", "my-kind_2:x", "room:ünï", "room:a/b?c#d%", 'room:"\\']),
    (check_channel, ["room:" + "x" * 195, "room:" + "é" * 97, "room:\u00a0", "room:\U0001f600"]),
    (check_pattern, ["room:lobby", "room:*", "room:team-*", "room:a:*", "room:" + "x" * 195 + "*"]),
    (check_user_id, ["u", "Ann Smith", "auth0|1", "é" * 64, "*", "u" * 128]),
    (check_type, ["message", "a.b:c/d_e-f", "9", "/", "t" * 64]),
    (check_client_event_id, ["a", "7", "order-7:a.b_c", "EVT_1", "evt", "x" * 64, "-.:_a"]),
]
BAD: list[tuple[Callable[[str], str], str, list[str]]] = [
    (check_app_id, "app_id", ["", "-a", "_a", "A", "a.b", "a b", "a" * 64, "a\n", "é"]),
    (check_kind, "kind", ["", "1a", "-a", "Room", "a" * 33, "a:b", "a\n"]),
    (check_channel, "channel", ["", "room", "room:", ":x", ":", "Room:x", "1:x", "ro om:x", "phoenix"]),
    (check_channel, "channel", ["room:a b", "room:*", "room:a*b", "room:\x00", "room:a\n", "room:\x7f", "room:\x85"]),
    (
        check_channel,
        "channel",
        ["room:\u2028", "room:\u2029", "room:\ud800", "room:" + "x" * 196, "room:" + "é" * 98],
    ),
    (check_pattern, "pattern", ["", "*", "room*", "room", "room:", "r*m:x", "room:**", "room:*a", "room:a b*", ":*"]),
    (check_pattern, "pattern", ["room:\ud800*", "Room:*", "room:" + "x" * 196 + "*", "room:\n*"]),
    (check_user_id, "user_id", ["", "u" * 129, "é" * 65, "a\x00", "a\n", "\x7f", "\u2028", "\udfff"]),
    (check_type, "type", ["", "a b", "é", "t" * 65, "a\n", "a*", "a\\b"]),
    (check_client_event_id, "id", ["", "evt_", "evt_1", "-", ".:_-", "a b", "a/b", "x" * 65, "é", "a\n"]),
]


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, names in GOOD for name in names])
def test_a_well_formed_name_comes_back_as_it_is(check: Callable[[str], str], name: str) -> None:
    assert check(name) == name


@pytest.mark.parametrize(
    ("check", "field", "name"), [(check, field, name) for check, field, names in BAD for name in names]
)
def test_a_name_that_is_not_well_formed_is_refused_with_its_field(
    check: Callable[[str], str], field: str, name: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check(name)
    assert refused.value.details() == {"field": field}
    assert refused.value.as_reply()["reason"] == "invalid"


@pytest.mark.parametrize("check", [check_channel, check_pattern, check_user_id, check_type, check_client_event_id])
def test_a_caller_that_calls_the_field_otherwise_is_heard(check: Callable[..., str]) -> None:
    with pytest.raises(Invalid) as refused:
        check("", field="events[3].it")
    assert refused.value.field == "events[3].it"


@given(name=st.text(st.characters(), min_size=1, max_size=120))
def test_a_channels_name_is_anything_but_control_characters_space_and_star(name: str) -> None:
    allowed = (
        not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") or c in " *" for c in name)
        and len(name.encode(errors="surrogatepass")) <= 195
    )
    try:
        assert check_channel(f"room:{name}") == f"room:{name}"
    except Invalid:
        assert not allowed
    else:
        assert allowed
        assert kind_of(f"room:{name}") == "room"
        assert pattern_matches(check_pattern(f"room:{name}"), f"room:{name}")


@pytest.mark.parametrize(
    ("pattern", "channel", "matches"),
    [
        ("room:*", "room:lobby", True),
        ("room:*", "room:a:b", True),
        ("room:*", "rooms:lobby", False),
        ("room:team-*", "room:team-", True),
        ("room:team-*", "room:team", False),
        ("room:lobby", "room:lobby", True),
        ("room:lobby", "room:lobby2", False),
        ("room:lobby2", "room:lobby", False),
        ("room:[ab]*", "room:a", False),
        ("room:?", "room:a", False),
    ],
)
def test_a_pattern_is_a_name_or_a_prefix(pattern: str, channel: str, matches: bool) -> None:
    assert pattern_matches(pattern, channel) == matches


@given(ts_us=st.integers(0, 1 << 60))
def test_no_publisher_can_give_an_id_that_the_server_makes(ts_us: int) -> None:
    with pytest.raises(Invalid):
        check_client_event_id(EventIds().new(ts_us))
