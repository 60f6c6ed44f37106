"""Signatures of webhooks, verified with the library of Standard Webhooks."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from polyglotd.access.webhook_secrets import (
    SECRETS_MAX,
    check_webhook_secret,
    new_webhook_secret,
    rotated,
    signature_headers,
)
from polyglotd.model import Endpoint, EndpointSecret, Invalid

US = 1_000_000
BODY = b'{"type":"batch","data":[1.10,"\xc3\xa9"]}'


def endpoint(*secrets: EndpointSecret) -> Endpoint:
    return Endpoint("whe_1", "chat", "https://example.com/", ("event.published",), secrets, 0, 0)


def test_a_signature_is_good_for_its_secret_content_and_time_alone() -> None:
    now_us = time.time_ns() // 1000
    secret, other = new_webhook_secret(), new_webhook_secret()
    headers = dict(signature_headers("msg_1", BODY, [secret], now_us))
    assert Webhook(secret.text).verify(BODY, headers)["type"] == "batch"
    for wrong in (
        lambda: Webhook(other.text).verify(BODY, headers),
        lambda: Webhook(secret.text).verify(BODY + b" ", headers),
        lambda: Webhook(secret.text).verify(BODY, headers | {"webhook-id": "msg_2"}),
        lambda: Webhook(secret.text).verify(BODY, headers | {"webhook-timestamp": str(now_us // US + 1)}),
        lambda: Webhook(secret.text).verify(
            BODY, dict(signature_headers("msg_1", BODY, [secret], now_us - 3_600 * US))
        ),
    ):
        with pytest.raises(WebhookVerificationError):
            wrong()


def test_during_a_rotations_grace_both_secrets_verify_and_afterwards_the_new_one_alone() -> None:
    now_us = time.time_ns() // 1000
    old, new = new_webhook_secret(), new_webhook_secret()
    secrets = rotated(endpoint(old), new, now_us=now_us - 100 * US, grace_s=160)
    headers = dict(signature_headers("msg_1", BODY, secrets, now_us))
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(old.text).verify(BODY, headers)
    Webhook(new.text).verify(BODY, headers)
    headers = dict(signature_headers("msg_1", BODY, secrets, now_us + 61 * US))
    Webhook(new.text).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old.text).verify(BODY, headers)


def test_a_rotation_without_grace_leaves_one_secret_and_many_rotations_leave_few() -> None:
    secrets = rotated(endpoint(new_webhook_secret()), new := new_webhook_secret(), now_us=0, grace_s=0)
    assert secrets == (new,)
    for step in range(10):
        secrets = rotated(endpoint(*secrets), new_webhook_secret(), now_us=step, grace_s=1_000)
    assert len(secrets) == SECRETS_MAX
    assert secrets[0].expires_us is None
    assert all(secret.expires_us is not None for secret in secrets[1:])


def test_a_grace_never_makes_an_old_secret_live_longer() -> None:
    dying = EndpointSecret("whsec_old", 50)
    secrets = rotated(endpoint(new_webhook_secret(), dying), new_webhook_secret(), now_us=0, grace_s=86_400)
    assert secrets[2] == dying


@pytest.mark.parametrize("grace_s", [-1, 31 * 86_400])
def test_a_grace_out_of_bounds_is_refused(grace_s: int) -> None:
    with pytest.raises(Invalid):
        rotated(endpoint(new_webhook_secret()), new_webhook_secret(), now_us=0, grace_s=grace_s)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_of_another_system_is_taken(size: int) -> None:
    text = "whsec_" + base64.b64encode(bytes(size)).decode()
    assert check_webhook_secret(text) == EndpointSecret(text)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        check_webhook_secret(text)
