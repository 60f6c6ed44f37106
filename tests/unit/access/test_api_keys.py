"""API keys from their making to their end."""

import dataclasses
import hashlib
import re

import pytest

from polyglotd.access import admin_tokens, api_keys
from polyglotd.model import ALL_SCOPES, Conflict, Forbidden, Invalid, Unauthorized

S_US = 1_000_000


def test_a_new_key_has_the_promised_form_and_only_its_hash_is_in_the_record():
    shown, key = api_keys.new_api_key("chat-app", now_us=5, name="first")

    assert re.fullmatch("plk_[0-9a-z]{32}", shown)
    assert key.digest == hashlib.sha256(shown.encode()).digest()
    assert shown[4:] not in repr(key)
    assert (key.app_id, key.name, key.scopes, key.created_us) == ("chat-app", "first", ALL_SCOPES, 5)


def test_every_new_key_is_recognised_by_its_own_form():
    for _ in range(200):  # every character of the alphabet comes by
        shown, key = api_keys.new_api_key("chat-app", now_us=0)
        assert api_keys.find(shown, [key]) is key


def test_a_presented_key_is_found_among_others():
    made = [api_keys.new_api_key("chat-app", now_us=0) for _ in range(5)]
    keys = [key for _, key in made]

    assert [api_keys.find(shown, keys) for shown, _ in made] == keys


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda shown: shown.upper(), id="upper case"),
        pytest.param(lambda shown: shown + " ", id="space after"),
        pytest.param(lambda shown: shown + "\n", id="line break after"),
        pytest.param(lambda shown: shown[:-1], id="cut short"),
        pytest.param(lambda shown: shown[4:], id="without its prefix"),
        pytest.param(lambda shown: shown + shown[-1], id="longer"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "plk_" + "0" * 32, id="another"),
        pytest.param(lambda _: "plk_" + "é" * 32, id="not ASCII"),
        pytest.param(lambda _: "\ud800", id="not even text"),
        pytest.param(lambda shown: hashlib.sha256(shown.encode()).hexdigest(), id="its hash"),
    ],
)
def test_anything_but_the_key_itself_is_not_found(change):
    shown, key = api_keys.new_api_key("chat-app", now_us=0)

    assert api_keys.find(change(shown), [key]) is None
    with pytest.raises(Unauthorized):
        api_keys.authenticate(change(shown), [key], app_id="chat-app", now_us=0)


def test_a_key_of_another_app_is_refused_with_the_words_for_an_unknown_one():
    shown, key = api_keys.new_api_key("other-app", now_us=0)

    with pytest.raises(Unauthorized) as foreign:
        api_keys.authenticate(shown, [key], app_id="chat-app", now_us=0)
    with pytest.raises(Unauthorized) as unknown:
        api_keys.authenticate(shown, [], app_id="chat-app", now_us=0)

    assert foreign.value.message == unknown.value.message


def test_a_revoked_key_is_refused():
    shown, key = api_keys.new_api_key("chat-app", now_us=0)

    with pytest.raises(Unauthorized, match="revoked"):
        api_keys.authenticate(shown, [dataclasses.replace(key, revoked_us=1)], app_id="chat-app", now_us=0)


def test_a_rotated_key_is_good_until_its_grace_ends_and_its_successor_from_now_on():
    old_shown, old = api_keys.new_api_key("chat-app", now_us=0, name="n", scopes=["read"])
    new_shown, new, ends_us = api_keys.rotated(old, now_us=100 * S_US, grace_s=60)
    keys = [dataclasses.replace(old, expires_us=ends_us), new]

    assert ends_us == 160 * S_US
    assert (new.name, new.scopes) == ("n", frozenset({"read"}))
    assert new.key_id != old.key_id
    assert api_keys.authenticate(new_shown, keys, app_id="chat-app", now_us=100 * S_US) is new
    assert api_keys.authenticate(old_shown, keys, app_id="chat-app", now_us=ends_us - 1) is keys[0]
    with pytest.raises(Unauthorized, match="grace"):
        api_keys.authenticate(old_shown, keys, app_id="chat-app", now_us=ends_us)


def test_a_second_rotation_never_prolongs_the_first_ones_grace():
    key = dataclasses.replace(api_keys.new_api_key("a", now_us=0)[1], expires_us=50 * S_US)

    assert api_keys.rotated(key, now_us=10 * S_US, grace_s=60)[2] == 50 * S_US
    assert api_keys.rotated(key, now_us=10 * S_US, grace_s=20)[2] == 30 * S_US


@pytest.mark.parametrize("ended", [{"revoked_us": 5}, {"expires_us": 5}], ids=["revoked", "expired"])
def test_a_key_that_is_no_longer_good_is_not_rotated(ended):
    key = dataclasses.replace(api_keys.new_api_key("a", now_us=0)[1], **ended)

    with pytest.raises(Conflict):
        api_keys.rotated(key, now_us=10)


@pytest.mark.parametrize("grace_s", [-1, 30 * 86_400 + 1])
def test_a_grace_out_of_bounds_is_refused(grace_s):
    with pytest.raises(Invalid):
        api_keys.rotated(api_keys.new_api_key("a", now_us=0)[1], now_us=0, grace_s=grace_s)


def test_a_scope_covers_itself_alone():
    for scope in ALL_SCOPES:
        key = api_keys.new_api_key("a", now_us=0, scopes=[scope])[1]
        for wanted in ALL_SCOPES:
            if wanted == scope:
                api_keys.check_scope(key, wanted)
            else:
                with pytest.raises(Forbidden, match=wanted):
                    api_keys.check_scope(key, wanted)


@pytest.mark.parametrize(
    ("asked", "given"), [(None, ALL_SCOPES), (["read"], {"read"}), (["read", "read", "publish"], {"read", "publish"})]
)
def test_known_scopes_are_taken(asked, given):
    assert api_keys.check_scopes(asked) == given


@pytest.mark.parametrize("asked", [[], ["admin"], ["read", "write"], ["READ"], [""]])
def test_unknown_scopes_are_refused(asked):
    with pytest.raises(Invalid):
        api_keys.check_scopes(asked)


@pytest.mark.parametrize(("name", "good"), [("", True), ("é" * 100, True), ("x" * 101, False), ("a\x1b[2J", False)])
def test_a_name_is_short_and_printable(name, good):
    if good:
        assert api_keys.check_key_name(name) == name
    else:
        with pytest.raises(Invalid):
            api_keys.check_key_name(name)


def test_an_admin_token_verifies_against_its_digest_only():
    shown, kept = admin_tokens.new_admin_token()
    other_shown, other_kept = admin_tokens.new_admin_token()

    assert re.fullmatch("pla_[0-9a-z]{32}", shown)
    assert admin_tokens.verify_admin_token(shown, [other_kept, kept])
    assert not admin_tokens.verify_admin_token(other_shown, [kept])
    assert not admin_tokens.verify_admin_token(shown, [])
    assert not admin_tokens.verify_admin_token(shown.upper(), [kept])
    assert not admin_tokens.verify_admin_token(kept.hex(), [kept])
    assert not admin_tokens.verify_admin_token("", [kept])


def test_an_api_key_among_the_digests_is_no_admin_token():
    shown, key = api_keys.new_api_key("a", now_us=0)

    assert not admin_tokens.verify_admin_token(shown, [key.digest])


def test_bearers_are_told_apart_by_their_prefix():
    assert api_keys.looks_like_key(api_keys.new_api_key("a", now_us=0)[0])
    assert admin_tokens.looks_like_admin_token(admin_tokens.new_admin_token()[0])
    assert not api_keys.looks_like_key("eyJhbGciOiJIUzI1NiJ9.e30.x")
