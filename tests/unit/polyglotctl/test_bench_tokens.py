"""The load generator's tokens, by the eyes of a library that checks them."""

import time

import jwt
import pytest

from polyglotctl.bench.library import sign_token

SECRET = "a secret that has at least thirty-two bytes"


@pytest.mark.parametrize("secret", [SECRET, "k" * 64, "k" * 65, "ü" * 40], ids=["short", "block", "longer", "utf-8"])
@pytest.mark.parametrize("user", ["u1", "u0000017-3fa94c01", "x" * 100])
def test_a_signed_token_is_good_for_its_app_and_user(secret: str, user: str) -> None:
    now = int(time.time())
    token = sign_token(secret, "chat-app", user, "t1", now)
    claims = jwt.decode(token, secret, algorithms=["HS256"], audience="chat-app", options={"require": ["exp", "iat"]})
    assert claims == {"sub": user, "aud": "chat-app", "jti": "t1", "iat": now, "exp": now + 3600}


def test_a_token_carries_further_claims() -> None:
    token = sign_token(SECRET, "chat-app", "u1", "t1", int(time.time()), ',"channels":{"ticker:*":["join"]}')
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="chat-app")
    assert claims["channels"] == {"ticker:*": ["join"]}


def test_a_token_of_another_secret_is_refused() -> None:
    token = sign_token(SECRET, "chat-app", "u1", "t1", int(time.time()))
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, SECRET + "!", algorithms=["HS256"], audience="chat-app")
