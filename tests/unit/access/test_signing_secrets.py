"""Which secrets and keys an app may import, and what the others are told."""

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import RSAAlgorithm

from polyglotd.access.signing_secrets import ACTIVE_MAX, check_room, import_signing_secret, new_signing_secret
from polyglotd.model import Conflict, Invalid


def public_pem(key, form=PublicFormat.SubjectPublicKeyInfo):
    return key.public_key().public_bytes(Encoding.PEM, form).decode()


def test_a_new_secret_is_kept_as_the_very_text_that_is_shown():
    shown, secret = new_signing_secret("chat-app", now_us=7)

    assert secret.material == shown.encode()
    assert len(secret.material) >= 32
    assert (secret.algorithm, secret.app_id, secret.created_us, secret.revoked_us) == ("HS256", "chat-app", 7, None)


def test_no_two_new_secrets_are_alike():
    made = [new_signing_secret("chat-app", now_us=0) for _ in range(100)]

    assert len({shown for shown, _ in made}) == len({secret.secret_id for _, secret in made}) == 100


@pytest.mark.parametrize(("length", "good"), [(0, False), (31, False), (32, True), (8192, True), (8193, False)])
def test_a_shared_secret_has_32_bytes_at_least_and_8_kib_at_most(length, good):
    if good:
        assert import_signing_secret("a", "HS256", "x" * length, now_us=0).material == b"x" * length
    else:
        with pytest.raises(Invalid) as refusal:
            import_signing_secret("a", "HS256", "x" * length, now_us=0)
        assert refusal.value.field == "material"


def test_the_length_of_a_shared_secret_is_counted_in_bytes():
    assert import_signing_secret("a", "HS256", "é" * 16, now_us=0).material == "é".encode() * 16


@pytest.mark.parametrize("algorithm", ["none", "HS512", "hs256", "", "RS256 ", "ES384"])
def test_an_unknown_algorithm_is_refused_by_its_field(algorithm):
    with pytest.raises(Invalid) as refusal:
        import_signing_secret("a", algorithm, "x" * 64, now_us=0)

    assert refusal.value.field == "algorithm"


def test_public_keys_in_either_form_of_pem_are_taken(signer):
    key = signer.private["RS256"]

    import_signing_secret("a", "RS256", public_pem(key), now_us=0)
    import_signing_secret("a", "RS256", public_pem(key, PublicFormat.PKCS1), now_us=0)
    import_signing_secret("a", "RS256", "\n\n  " + public_pem(key).replace("\n", "\r\n") + "\n ", now_us=0)


def test_ed448_is_eddsa_too():
    import_signing_secret("a", "EdDSA", public_pem(ed448.Ed448PrivateKey.generate()), now_us=0)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_key_of_another_algorithm_is_refused_with_what_would_be_right(signer, algorithm):
    others = {"RS256", "ES256", "EdDSA"} - {algorithm}
    for other in others:
        with pytest.raises(Invalid, match=f"{algorithm} needs"):
            import_signing_secret("a", algorithm, signer.secrets[other].material.decode(), now_us=0)


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        pytest.param("ES256", lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param("ES256", lambda: ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param("RS256", lambda: rsa.generate_private_key(65537, 1024), id="RSA of 1024 bits"),
        pytest.param("EdDSA", x25519.X25519PrivateKey.generate, id="X25519"),
        pytest.param("RS256", lambda: dsa.generate_private_key(1024), id="DSA"),
    ],
)
def test_a_key_that_is_too_weak_or_of_another_curve_is_refused(algorithm, make):
    with pytest.raises(Invalid) as refusal:
        import_signing_secret("a", algorithm, public_pem(make()), now_us=0)

    assert refusal.value.field == "material"


@pytest.mark.parametrize("encryption", [NoEncryption(), BestAvailableEncryption(b"pass")], ids=["plain", "encrypted"])
def test_a_private_key_is_refused_before_it_is_kept(signer, encryption):
    pem = signer.private["RS256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()

    with pytest.raises(Invalid, match="private key"):
        import_signing_secret("a", "RS256", pem, now_us=0)


@pytest.mark.parametrize(
    "material",
    [
        "",
        "hello",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "\ud800",
        "\x00" * 100,
    ],
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_what_is_no_pem_is_refused(algorithm, material):
    with pytest.raises(Invalid):
        import_signing_secret("a", algorithm, material, now_us=0)


def test_a_public_key_in_another_dress_is_no_shared_secret_either(signer):
    key = signer.private["RS256"].public_key()
    for dress in (
        "  " + public_pem(signer.private["RS256"]),
        json.dumps(RSAAlgorithm.to_jwk(key, as_dict=True)),
        key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    ):
        with pytest.raises(Invalid) as refusal:
            import_signing_secret("a", "HS256", dress, now_us=0)
        assert refusal.value.field == "material"


def test_an_app_has_a_bounded_number_of_active_secrets_and_revoked_ones_do_not_count():
    secrets = [new_signing_secret("a", now_us=0)[1] for _ in range(ACTIVE_MAX)]
    with pytest.raises(Conflict, match="revoke one"):
        check_room(secrets)

    check_room([dataclasses.replace(secrets[0], revoked_us=1), *secrets[1:]])
