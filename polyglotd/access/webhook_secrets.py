"""Webhooks' signatures: secrets made and rotated, messages signed, as the Standard Webhooks specification says.

The admin API makes and rotates secrets, the processor signs. A receiver verifies with any library of Standard
Webhooks. Secrets are kept as they are shown: who signs needs them. Does not store anything.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from polyglotd.model import Endpoint, EndpointSecret, Invalid, new_handle

SECRET_PREFIX = "whsec_"
ENDPOINT_ID_PREFIX = "whe_"
MESSAGE_ID_PREFIX = "msg_"
SECRET_BYTES = 32  # the specification asks for 24 to 64
SECRETS_MAX = 4  # the newest and some in their grace: a header of signatures stays short
GRACE_DEFAULT_S = 86_400
GRACE_MAX_S = 30 * 86_400
_US = 1_000_000


def new_endpoint_id() -> str:
    return new_handle(ENDPOINT_ID_PREFIX)


def new_message_id() -> str:
    return new_handle(MESSAGE_ID_PREFIX) + new_handle("")


def new_webhook_secret() -> EndpointSecret:
    return EndpointSecret(SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())


def check_webhook_secret(text: str) -> EndpointSecret:
    """A secret that another system gave. Raises `Invalid`."""
    try:
        material = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if not text.startswith(SECRET_PREFIX) or not 24 <= len(material) <= 64:
        raise Invalid("a secret is whsec_ and the base64 of 24 to 64 bytes", field="secret")
    return EndpointSecret(text)


def rotated(endpoint: Endpoint, new: EndpointSecret, *, now_us: int, grace_s: int) -> tuple[EndpointSecret, ...]:
    """The endpoint's secrets from now on: messages are signed with the new one and, during the grace, with the old
    ones too. Raises `Invalid` for a grace out of bounds."""
    if not 0 <= grace_s <= GRACE_MAX_S:
        raise Invalid(f"a grace is 0 to {GRACE_MAX_S} seconds", field="grace_s")
    ends_us = now_us + grace_s * _US
    old = [
        EndpointSecret(secret.text, ends_us if secret.expires_us is None else min(ends_us, secret.expires_us))
        for secret in live_secrets(endpoint.secrets, now_us)
        if secret.text != new.text
    ]
    return (new, *(secret for secret in old if secret.expires_us > now_us))[:SECRETS_MAX]  # type: ignore[operator]


def live_secrets(all_of: Sequence[EndpointSecret], now_us: int) -> list[EndpointSecret]:
    return [secret for secret in all_of if secret.expires_us is None or secret.expires_us > now_us]


def signature_headers(
    message_id: str, body: bytes, of: Sequence[EndpointSecret], now_us: int
) -> list[tuple[str, str]]:
    """The three headers of one try, a signature for each secret that is good now."""
    at_s = now_us // _US
    signed = b"%b.%d.%b" % (message_id.encode(), at_s, body)
    signatures = [_signature(secret.text, signed) for secret in live_secrets(of, now_us)]
    return [
        ("webhook-id", message_id),
        ("webhook-timestamp", str(at_s)),
        ("webhook-signature", " ".join(signatures)),
    ]


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
