"""What a good token gives, and how each claim of a bad one is refused."""

import dataclasses

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.access.user_tokens import inspect_user_token, issue_user_token, verify_user_token
from polyglotd.model import Conflict, Invalid, Unauthorized

DAY_S = 86_400
NOW_US = 1_795_421_730_123_456
SHOWN, SECRET = new_signing_secret("chat-app", now_us=0)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_token_of_each_algorithm_gives_its_grant(signer, verify, now_us, algorithm):
    token = signer.token(
        algorithm=algorithm, channels={"room:*": ["join", "publish"]}, info={"name": "Ann"}, jti="t1"
    )

    grant = verify(token)

    assert (grant.user_id, grant.app_id, grant.jti) == ("ann", "chat-app", "t1")
    assert grant.capabilities == {"room:*": frozenset({"join", "publish"})}
    assert grant.info == b'{"name":"Ann"}'
    assert (grant.iat_us, grant.exp_us) == (now_us - 10_000_000, now_us + 3_600_000_000)
    assert grant.secret_id == signer.secrets[algorithm].secret_id


def test_a_token_without_optional_claims_leaves_them_to_the_policy(signer, verify):
    grant = verify(signer.token())

    assert (grant.capabilities, grant.info, grant.jti) == (None, None, None)


def test_a_token_with_empty_channels_allows_nothing_rather_than_all(signer, verify):
    assert verify(signer.token(channels={})).capabilities == {}


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        pytest.param({"iat": ...}, "no iat", id="no iat"),
        pytest.param({"exp": ...}, "no exp", id="no exp"),
        pytest.param({"sub": ...}, "no sub", id="no sub"),
        pytest.param({"aud": ...}, "no aud", id="no aud"),
        pytest.param({"sub": None}, "no sub", id="null sub"),
        pytest.param({"sub": 7}, "sub must be a string", id="sub a number"),
        pytest.param({"sub": ["ann"]}, "sub must be a string", id="sub a list"),
        pytest.param({"sub": ""}, "sub", id="sub empty"),
        pytest.param({"sub": "a\nb"}, "sub", id="sub with a line break"),
        pytest.param({"sub": "x" * 129}, "sub", id="sub too long"),
        pytest.param({"aud": "other-app"}, "does not name this app", id="another app"),
        pytest.param({"aud": "chat-app2"}, "does not name this app", id="an app with our prefix"),
        pytest.param({"aud": ["a", "b"]}, "does not name this app", id="aud a list without us"),
        pytest.param({"aud": []}, "does not name this app", id="aud an empty list"),
        pytest.param({"aud": ["chat-app", 1]}, "aud must be", id="aud with a number"),
        pytest.param({"aud": {"chat-app": 1}}, "aud must be", id="aud an object"),
        pytest.param({"aud": [["chat-app"]]}, "aud must be", id="aud nested"),
        pytest.param({"exp": "2026"}, "exp must be a number", id="exp text"),
        pytest.param({"exp": True}, "exp must be a number", id="exp a bool"),
        pytest.param({"iat": False}, "iat must be a number", id="iat a bool"),
        pytest.param({"iat": None}, "iat must be a number", id="iat null"),
        pytest.param({"iat": -1}, "iat must be a number", id="iat negative"),
        pytest.param({"exp": -1}, "exp must be a number", id="exp negative"),
        pytest.param({"exp": 10**30}, "exp must be a number", id="exp huge"),
        pytest.param({"exp": [1]}, "exp must be a number", id="exp a list"),
        pytest.param({"nbf": "soon"}, "nbf must be a number", id="nbf text"),
        pytest.param({"jti": 5}, "jti", id="jti a number"),
        pytest.param({"jti": ""}, "jti", id="jti empty"),
        pytest.param({"jti": "x" * 129}, "jti", id="jti too long"),
        pytest.param({"jti": "é" * 65}, "jti", id="jti too long in bytes"),
        pytest.param({"channels": []}, "channels must be an object", id="channels a list"),
        pytest.param({"channels": None}, "channels must be an object", id="channels null"),
        pytest.param({"channels": {"*": ["join"]}}, "channels", id="pattern without kind"),
        pytest.param({"channels": {"room:a*b": ["join"]}}, "channels", id="pattern with an inner star"),
        pytest.param({"channels": {"room:*": "join"}}, "capabilities", id="capabilities not a list"),
        pytest.param({"channels": {"room:*": ["read"]}}, "capabilities", id="unknown capability"),
        pytest.param({"channels": {"room:*": [["join"]]}}, "capabilities", id="capability nested"),
        pytest.param({"info": []}, "info", id="info a list"),
        pytest.param({"info": "Ann"}, "info", id="info text"),
        pytest.param({"info": {"x": "y" * 1020}}, "info", id="info too long"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_with_its_name(signer, verify, claims, said):
    with pytest.raises(Unauthorized, match=said):
        verify(signer.token(**claims))


def test_info_of_exactly_a_kibibyte_is_taken(signer, verify):
    assert len(verify(signer.token(info={"x": "y" * (1024 - 8)})).info) == 1024


def test_info_keeps_its_numbers_and_loses_its_line_breaks(signer, verify, now_s):
    claims = (
        b'{"sub":"ann","aud":["x","chat-app"],"iat":%d,"exp":%d,"info":{ "n" : 1.10,\n"big":123456789012345678901}}'
    )

    assert verify(signer.text(claims % (now_s, now_s + 9))).info == b'{"n":1.10,"big":123456789012345678901}'


@pytest.mark.parametrize(
    ("iat", "exp", "nbf", "good"),
    [
        pytest.param(-10, 60, None, True, id="usual"),
        pytest.param(-100, -9, None, True, id="expired within the leeway"),
        pytest.param(-100, -10, None, False, id="expired a leeway ago"),
        pytest.param(10, 60, None, True, id="issued a leeway ahead"),
        pytest.param(11, 60, None, False, id="issued in the future"),
        pytest.param(-10, 60, 10, True, id="valid a leeway from now"),
        pytest.param(-10, 60, 11, False, id="not valid yet"),
        pytest.param(-10, -10 + 30 * DAY_S, None, True, id="as long as may be"),
        pytest.param(-10, -9 + 30 * DAY_S, None, False, id="lives too long"),
        pytest.param(5, 5, None, False, id="lives no time"),
        pytest.param(5, 4, None, False, id="ends before it begins"),
    ],
)
def test_a_token_is_good_from_iat_to_exp_give_or_take_the_leeway(signer, verify, now_s, iat, exp, nbf, good):
    token = signer.token(iat=now_s + iat, exp=now_s + exp, nbf=... if nbf is None else now_s + nbf)
    if good:
        verify(token)
    else:
        with pytest.raises(Unauthorized):
            verify(token)


@given(us=st.integers(0, 253_402_300_799_000_000))
def test_a_fractional_time_is_read_to_the_microsecond_while_floats_hold_it(us):
    from polyglotd.access.claims import time_us

    read = time_us({"iat": us / 1_000_000}, "iat")

    assert abs(read - us) <= (0 if us < 4_000_000_000_000_000 else 32)  # until the year 2096 exactly


def test_a_revoked_secret_verifies_nothing(signer, verify):
    revoked = dataclasses.replace(signer.secrets["HS256"], revoked_us=1)

    with pytest.raises(Unauthorized, match="was revoked"):
        verify(signer.token(), secrets=[revoked])


def test_another_apps_secret_verifies_nothing_even_if_it_is_handed_in(signer, verify):
    foreign = dataclasses.replace(signer.secrets["HS256"], app_id="other-app")

    with pytest.raises(Unauthorized, match="does not exist"):
        verify(signer.token(), secrets=[foreign])


def test_each_active_secret_is_tried_where_the_token_names_none(signer, verify):
    others = [new_signing_secret("chat-app", now_us=0)[1] for _ in range(3)]

    grant = verify(signer.token(), secrets=[*others, signer.secrets["HS256"]])

    assert grant.secret_id == signer.secrets["HS256"].secret_id


def test_a_kid_that_is_a_secret_id_narrows_to_it(signer, verify):
    other = new_signing_secret("chat-app", now_us=0)[1]

    with pytest.raises(Unauthorized, match="fits no active"):
        verify(signer.token(header={"kid": other.secret_id}), secrets=[other, signer.secrets["HS256"]])


def test_a_kid_of_a_revoked_secret_does_not_fall_back_to_others(signer, verify):
    revoked = dataclasses.replace(signer.secrets["HS256"], secret_id="sec_old", revoked_us=1)

    with pytest.raises(Unauthorized, match="was revoked"):
        verify(signer.token(header={"kid": "sec_old"}), secrets=[revoked, signer.secrets["HS256"]])


def test_a_kid_of_an_identity_provider_narrows_nothing(signer, verify):
    assert verify(signer.token(algorithm="RS256", header={"kid": "auth0|2026"})).user_id == "ann"


@given(
    user=st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30),
    ttl_s=st.integers(1, 30 * DAY_S),
    now_us=st.integers(0, 4_000_000_000_000_000),
    channels=st.none() | st.dictionaries(st.just("room:*"), st.lists(st.sampled_from(["join", "publish"]))),
)
def test_an_issued_token_verifies_at_once_and_says_what_it_was_given(user, ttl_s, now_us, channels):
    token, jti, exp_us = issue_user_token(
        SECRET, app_id="chat-app", user_id=user, ttl_s=ttl_s, channels=channels, info=b'{"a": 1e3}', now_us=now_us
    )

    grant = verify_user_token(token, app_id="chat-app", secrets=[SECRET], now_us=now_us, leeway_s=0)

    assert (grant.user_id, grant.jti, grant.exp_us, grant.iat_us) == (user, jti, exp_us, now_us)
    assert grant.info == b'{"a":1e3}'
    assert grant.capabilities == (channels and {p: frozenset(names) for p, names in channels.items()})


def test_an_issued_token_is_good_for_any_jwt_library_with_the_shown_secret():
    token, _, _ = issue_user_token(
        SECRET, app_id="chat-app", user_id="ann", ttl_s=60, channels=None, info=None, now_us=NOW_US
    )

    claims = jwt.decode(
        token, SHOWN, ["HS256"], audience="chat-app", options={"verify_exp": False, "verify_iat": False}
    )

    assert claims["sub"] == "ann"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": ""}, "user"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": 30 * DAY_S + 1}, "ttl_s"),
        ({"channels": {"room": ["join"]}}, "channels"),
        ({"channels": {"room:*": ["jion"]}}, "channels"),
        ({"channels": {f"room:{n:0150}": ["join"] for n in range(50)}}, "channels"),
        ({"info": b"[1]"}, "info"),
        ({"info": b'{}, "sub": "root"'}, "info"),
        ({"info": b'{"a":1,"a":2}'}, "info"),
        ({"info": b'{"a":"' + b"x" * 1024 + b'"}'}, "info"),
    ],
)
def test_what_would_not_verify_is_not_issued(changes, field):
    usual = {"app_id": "chat-app", "user_id": "ann", "ttl_s": 60, "channels": None, "info": None, "now_us": NOW_US}

    with pytest.raises(Invalid) as refusal:
        issue_user_token(SECRET, **(usual | changes))

    assert refusal.value.field == field


def test_only_an_active_shared_secret_of_the_app_can_sign(signer):
    usual = {"app_id": "chat-app", "user_id": "ann", "ttl_s": 60, "channels": None, "info": None, "now_us": NOW_US}
    for secret in (
        signer.secrets["RS256"],
        dataclasses.replace(SECRET, revoked_us=1),
        dataclasses.replace(SECRET, app_id="other-app"),
    ):
        with pytest.raises(Conflict):
            issue_user_token(secret, **usual)


def test_inspection_shows_a_good_token(signer, now_us):
    inspection = inspect_user_token(
        signer.token(jti="t"), app_id="chat-app", secrets=signer.all_secrets, now_us=now_us, leeway_s=0
    )

    assert (inspection.valid, inspection.problem) == (True, None)
    assert inspection.header["alg"] == "HS256"
    assert inspection.claims["jti"] == "t"


def test_inspection_shows_the_claims_of_a_bad_token_and_what_is_wrong(signer, now_us, now_s):
    inspection = inspect_user_token(
        signer.token(iat=now_s - 90, exp=now_s - 60),
        app_id="chat-app",
        secrets=signer.all_secrets,
        now_us=now_us,
        leeway_s=0,
    )

    assert not inspection.valid
    assert inspection.claims["sub"] == "ann"
    assert inspection.problem == "the token has expired"


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "e30.e30.e30", "🙂.🙂.🙂"])
def test_inspection_of_what_is_no_token_says_so(token):
    inspection = inspect_user_token(token, app_id="chat-app", secrets=[SECRET], now_us=NOW_US, leeway_s=0)

    assert not inspection.valid
    assert inspection.problem
