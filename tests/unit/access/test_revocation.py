"""What a revocation ends, remembers and forgets."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyglotd.access.api_keys import new_api_key
from polyglotd.access.grant import UserGrant
from polyglotd.access.revocation import Revocations, hits, keep_until_us
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.access.user_tokens import issue_user_token, verify_user_token
from polyglotd.model import Revocation, Unauthorized

S_US = 1_000_000
KEY = new_api_key("chat-app", now_us=0)[1]


def grant(user_id="ann", jti="t1", iat_us=0, app_id="chat-app"):
    return UserGrant(user_id, app_id, None, None, jti, iat_us, iat_us + 60 * S_US, "sec_1")


def revocations(*lines):
    known = Revocations(ttl_max_s=100, leeway_s=10)
    for line in lines:
        known.apply(line)
    return known


def line(what, subject, at_us=0, cursor=1, app_id="chat-app"):
    return Revocation(cursor, app_id, what, subject, at_us)


@pytest.mark.parametrize(
    ("revocation", "credential", "ended"),
    [
        pytest.param(line("token", "t1"), grant(), True, id="the token"),
        pytest.param(line("token", "t1"), grant(jti="t2"), False, id="another token of the user"),
        pytest.param(line("token", "t1"), grant(jti=None), False, id="a token without jti"),
        pytest.param(line("token", "t1", app_id="other"), grant(), False, id="another app's token of that jti"),
        pytest.param(line("token", "ann"), grant(), False, id="a jti that is the user's name"),
        pytest.param(line("user", "ann", at_us=9), grant(iat_us=9), True, id="a token issued at that moment"),
        pytest.param(line("user", "ann", at_us=9), grant(iat_us=10), False, id="a token issued later"),
        pytest.param(line("user", "ann", at_us=9), grant(user_id="bob"), False, id="another user's token"),
        pytest.param(line("user", "ann", at_us=9, app_id="other"), grant(), False, id="another app's user"),
        pytest.param(line("key", KEY.key_id), KEY, True, id="the key"),
        pytest.param(line("key", "key_other"), KEY, False, id="another key"),
        pytest.param(line("token", KEY.key_id), KEY, False, id="a jti that is the key's id"),
        pytest.param(line("key", "t1"), grant(), False, id="a key id that is the token's jti"),
    ],
)
def test_a_revocation_ends_the_connections_and_refuses_the_credentials_that_it_names(revocation, credential, ended):
    assert hits(revocation, "chat-app", credential) is ended
    assert revocations(revocation).is_revoked(credential) is ended


@pytest.mark.parametrize("credential", [grant(), KEY, None], ids=["user", "key", "operator"])
def test_suspending_an_app_ends_all_its_connections_but_refuses_nothing_afterwards(credential):
    suspension = line("app", "chat-app")

    assert hits(suspension, "chat-app", credential)
    assert not hits(suspension, "other-app", credential)
    if credential is not None:
        assert not revocations(suspension).is_revoked(credential)


def test_an_operators_connection_outlives_revocations_of_others():
    for what in ("token", "user", "key"):
        assert not hits(line(what, "x"), "chat-app", None)


def test_a_token_of_whole_seconds_issued_in_the_second_of_the_revocation_is_ended():
    known = revocations(line("user", "ann", at_us=5_400_000))

    assert known.is_revoked(grant(iat_us=5 * S_US))
    assert not known.is_revoked(grant(iat_us=6 * S_US))


def test_a_token_that_we_issue_right_after_the_revocation_is_good():
    secret = new_signing_secret("chat-app", now_us=0)[1]
    at_us = 1_795_421_730_400_000

    def issued(now_us):
        token = issue_user_token(
            secret, app_id="chat-app", user_id="ann", ttl_s=60, channels=None, info=None, now_us=now_us
        ).token
        return verify_user_token(token, app_id="chat-app", secrets=[secret], now_us=now_us, leeway_s=0)

    known = revocations(line("user", "ann", at_us=at_us))

    assert known.is_revoked(issued(at_us - 1))
    assert known.is_revoked(issued(at_us))
    assert not known.is_revoked(issued(at_us + 1))


def test_the_last_of_a_users_revocations_counts_in_whatever_order_they_come():
    known = revocations(line("user", "ann", at_us=50, cursor=2), line("user", "ann", at_us=20, cursor=1))

    assert known.is_revoked(grant(iat_us=40))
    assert len(known) == 1


def test_a_line_that_comes_twice_changes_nothing_and_the_cursor_is_the_highest():
    known = revocations(line("token", "t1", cursor=7), line("token", "t1", cursor=7), line("key", "k", cursor=4))

    assert known.cursor == 7
    assert len(known) == 2


def test_a_revoked_credential_is_refused_as_unauthorized():
    known = revocations(line("token", "t1"), line("key", KEY.key_id))

    with pytest.raises(Unauthorized, match="token was revoked"):
        known.check(grant())
    with pytest.raises(Unauthorized, match="API key was revoked"):
        known.check(KEY)
    known.check(grant(jti="t2"))


def test_pruning_keeps_a_revocation_until_no_token_that_it_names_can_be_good():
    known = revocations(line("user", "ann", at_us=10 * S_US))
    until_us = keep_until_us(10 * S_US, ttl_max_s=100, leeway_s=10)

    assert known.prune(until_us) == 0
    assert known.is_revoked(grant(iat_us=0))
    assert known.prune(until_us + 1) == 1
    assert len(known) == 0


@given(at_us=st.integers(0, 10**15), ahead_us=st.integers(-(10**9), 10 * S_US), ttl_us=st.integers(1, 100 * S_US))
@example(at_us=0, ahead_us=10 * S_US, ttl_us=100 * S_US)
def test_no_token_outlives_its_forgotten_revocation(at_us, ahead_us, ttl_us):
    """A token that existed at the revocation, its clock up to a leeway ahead, is dead by itself afterwards."""
    exp_us = at_us + ahead_us + ttl_us

    assert exp_us + 10 * S_US <= keep_until_us(at_us, ttl_max_s=100, leeway_s=10)
