"""Tokens that an attacker would send. None of them may be good, and none may raise anything but a refusal."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.access.signing_secrets import import_signing_secret, new_signing_secret
from polyglotd.access.user_tokens import inspect_user_token, verify_user_token
from polyglotd.model import Invalid, SigningSecret, Unauthorized

SECRET = new_signing_secret("chat-app", now_us=0)[1]
GOOD = b'{"sub":"ann","aud":"chat-app","iat":%d,"exp":%d%b}'


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_with(key: bytes, header: bytes, claims: bytes, secret: SigningSecret = SECRET) -> str:
    signed = f"{base64url(header)}.{base64url(claims)}"
    return f"{signed}.{base64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_never_an_hmac_secret(signer, verify, now_s, algorithm):
    """The classic confusion: HS256, signed with the text of the public key, which everybody may know."""
    public = signer.secrets[algorithm]
    header = json.dumps({"alg": "HS256", "kid": public.secret_id}).encode()
    claims = GOOD % (now_s, now_s + 60, b"")
    for key in (public.material, public.material.strip(), public.material.replace(b"\n", b"\r\n")):
        for secrets in ([public], signer.all_secrets):
            with pytest.raises(Unauthorized):
                verify(signed_with(key, header, claims), secrets=secrets)


def test_the_text_of_a_public_key_can_not_be_imported_as_a_shared_secret(signer):
    with pytest.raises(Invalid, match="PEM"):
        import_signing_secret("chat-app", "HS256", signer.secrets["RS256"].material.decode(), now_us=0)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["HS256"], {"HS256": 1}, True]
)
@pytest.mark.parametrize("signature", ["", "AA", "valid"])
def test_an_unsigned_token_is_refused_however_none_is_written(signer, verify, now_s, algorithm, signature):
    header = json.dumps({"alg": algorithm}).encode()
    token = signer.text(GOOD % (now_s, now_s + 60, b""), header=header)
    if signature != "valid":
        token = token.rpartition(".")[0] + "." + signature

    with pytest.raises(Unauthorized):
        verify(token)


@pytest.mark.parametrize(
    "algorithm", ["HS384", "HS512", "RS384", "PS256", "ES384", "ES256K", "hs256", "HS256 ", "EDDSA"]
)
def test_an_algorithm_out_of_the_four_is_refused(signer, verify, now_s, algorithm):
    with pytest.raises(Unauthorized, match="alg must be one of"):
        verify(signer.text(GOOD % (now_s, now_s + 60, b""), header=json.dumps({"alg": algorithm}).encode()))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b'{"alg":"HS256","kid":["sec_1"]}', id="kid a list"),
        pytest.param(b'{"alg":"HS256","kid":7}', id="kid a number"),
        pytest.param(b'{"alg":"HS256","crit":["exp"]}', id="crit"),
        pytest.param(b'{"alg":"HS256","crit":["b64"],"b64":true}', id="crit that PyJWT knows"),
        pytest.param(b'{"alg":"HS256","crit":[]}', id="crit empty"),
        pytest.param(b'{"alg":"HS256","crit":["b64"],"b64":false}', id="unencoded payload"),
        pytest.param(b'{"alg":"HS256","b64":false}', id="b64 without crit"),
        pytest.param(b'{"alg":"none","alg":"HS256"}', id="alg twice"),
        pytest.param(b'{"alg":"HS256","alg":"none"}', id="alg twice, none last"),
        pytest.param(b'["HS256"]', id="a list"),
        pytest.param(b'"HS256"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"alg":"HS256"', id="cut short"),
        pytest.param(b'\xef\xbb\xbf{"alg":"HS256"}', id="byte order mark"),
        pytest.param('{"alg":"HS256"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"alg":"HS256","x":' + b"[" * 2000 + b"]" * 2000 + b"}", id="nested deeply"),
    ],
)
def test_a_header_that_is_odd_is_refused_although_its_signature_fits(signer, verify, now_s, header):
    with pytest.raises(Unauthorized):
        verify(signer.text(GOOD % (now_s, now_s + 60, b""), header=header))


@pytest.mark.parametrize(
    ("header", "said"),
    [({"kid": 7}, "kid must be a string"), ({"crit": ["exp"]}, "no extension"), ({"alg": "none"}, "HS256, EdDSA")],
)
def test_an_odd_header_is_refused_with_what_is_wrong_in_it(signer, verify, now_s, header, said):
    text = json.dumps({"alg": "HS256"} | header).encode()

    with pytest.raises(Unauthorized, match=said):
        verify(signer.text(GOOD % (now_s, now_s + 60, b""), header=text))


@pytest.mark.parametrize("kid", ["../../../../dev/null", "sec_' OR 1=1 --", "/dev/null", "\x00", "x" * 3000])
def test_a_kid_that_points_elsewhere_is_only_text(signer, verify, kid):
    """The empty file as a key: a token signed with nothing, whose kid names it."""
    header = json.dumps({"alg": "HS256", "kid": kid}).encode()

    with pytest.raises(Unauthorized, match="fits no active"):
        verify(signed_with(b"", header, b"{}"))


@pytest.mark.parametrize(
    "header", [{"jwk": {"kty": "oct", "k": "AAAA"}}, {"jku": "https://evil.example"}, {"x5u": "x"}]
)
def test_a_key_inside_the_token_is_not_looked_at(signer, verify, now_s, header):
    text = json.dumps({"alg": "HS256"} | header).encode()

    with pytest.raises(Unauthorized, match="fits no active"):
        verify(signed_with(b"\0\0\0", text, GOOD % (now_s, now_s + 60, b"")))


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(b',"sub":"root"', id="sub twice"),
        pytest.param(b',"s\\u0075b":"root"', id="sub twice, once escaped"),
        pytest.param(b',"channels":{"room:a":[],"room:a":["join"]}', id="pattern twice"),
        pytest.param(b',"info":{"a":1,"a":2}', id="info key twice"),
        pytest.param(b',"nbf":NaN', id="NaN"),
        pytest.param(b',"x":NaN', id="NaN where nobody looks"),
        pytest.param(b',"info":{"a":-Infinity}', id="Infinity in info"),
        pytest.param(b',"nbf":Infinity', id="Infinity"),
        pytest.param(b',"nbf":-Infinity', id="minus Infinity"),
        pytest.param(b',"nbf":1e999', id="1e999"),
        pytest.param(b',"nbf":1e308', id="1e308"),
        pytest.param(b',"nbf":' + b"9" * 5000, id="a number of 5000 digits"),
        pytest.param(b',"nbf":0x10', id="hexadecimal"),
        pytest.param(b',"nbf":01', id="leading zero"),
        pytest.param(b',"x":' + b"[" * 2500 + b"]" * 2500, id="brackets"),
        pytest.param(b',"info":' + b'{"a":' * 40 + b"1" + b"}" * 40, id="info nested deeply"),
        pytest.param(b',"info":{"a":"\\ud800"}', id="lone surrogate in info"),
        pytest.param(b',"jti":"\\ud800"', id="lone surrogate in jti"),
        pytest.param(b',"x":"\xff"', id="not UTF-8"),
        pytest.param(b',"x":"\xed\xa0\x80"', id="surrogate in UTF-8"),
        pytest.param(b"}{", id="two objects"),
        pytest.param(b'} "x"', id="trailing text"),
        pytest.param(b',"x":"\n"', id="line break in a string"),
        pytest.param(b',"x":1,', id="trailing comma"),
    ],
)
def test_claims_with_two_meanings_are_refused_although_the_signature_fits(signer, verify, now_s, more):
    token = signer.text(GOOD % (now_s, now_s + 60, more))

    with pytest.raises(Unauthorized):
        verify(token)


@pytest.mark.parametrize("sub", [b'"\\ud800"', b'"ann\\u0000"', b'"\\u2028"', b"{}", b"true", b"1"])
def test_a_sub_that_is_no_user_is_refused(signer, verify, now_s, sub):
    claims = b'{"sub":%b,"aud":"chat-app","iat":%d,"exp":%d}' % (sub, now_s, now_s + 60)

    with pytest.raises(Unauthorized, match=r"sub|JSON|UTF-8"):
        verify(signer.text(claims))


@pytest.mark.parametrize("claims", [b"", b"[]", b"null", b'"x"', b"1", b"{}", b"[" * 3000])
def test_claims_that_are_no_object_are_refused(signer, verify, claims):
    with pytest.raises(Unauthorized):
        verify(signer.text(claims))


def test_an_audience_of_ten_thousand_is_refused_by_the_tokens_size(signer, verify):
    with pytest.raises(Unauthorized, match="at most 8192 bytes"):
        verify(signer.token(aud=["x"] * 10_000 + ["chat-app"]))


def test_an_audience_as_long_as_a_token_can_hold_is_searched(signer, verify):
    assert verify(signer.token(aud=["x"] * 1000 + ["chat-app"])).user_id == "ann"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t + "=", id="padding"),
        pytest.param(lambda t: t + "\n", id="line break after"),
        pytest.param(lambda t: " " + t, id="space before"),
        pytest.param(lambda t: t + ".x", id="a fourth part"),
        pytest.param(lambda t: t.replace(".", "..", 1), id="an empty part"),
        pytest.param(lambda t: t.rpartition(".")[0] + ".", id="no signature"),
        pytest.param(lambda t: t.rpartition(".")[0], id="two parts"),
        pytest.param(lambda t: t[:-4] + "!!!!", id="not base64url"),
        pytest.param(lambda t: t[:-1], id="cut short"),
        pytest.param(lambda t: t + "A", id="a character more"),
        pytest.param(lambda t: t.replace(".", "。", 1), id="a full stop of another script"),
    ],
)
def test_a_token_that_is_not_exactly_its_compact_form_is_refused(signer, verify, change):
    with pytest.raises(Unauthorized):
        verify(change(signer.token()))


def test_the_unused_bits_of_the_last_character_are_no_second_spelling(signer, verify):
    """32 bytes of HMAC leave two bits over in 43 characters; another value there decodes to the same bytes."""
    token = signer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]

    with pytest.raises(Unauthorized):
        verify(other)


def test_every_single_changed_character_breaks_a_token(signer, verify):
    token = signer.token()
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(Unauthorized):
            verify(changed)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("signature", [b"\0", b"\0" * 64, b"\xff" * 64, b"\0" * 256, b"\xff" * 256, b"x" * 63])
def test_a_signature_of_zeros_or_of_the_wrong_length_is_refused(signer, verify, now_s, algorithm, signature):
    token = signer.token(algorithm=algorithm).rpartition(".")[0] + "." + base64url(signature)

    with pytest.raises(Unauthorized):
        verify(token)


@pytest.mark.parametrize("wanted", ["HS256", "RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("used", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_signature_counts_only_as_the_algorithm_that_the_header_names(signer, verify, now_s, wanted, used):
    if wanted == used:
        return
    claims = GOOD % (now_s, now_s + 60, b"")

    with pytest.raises(Unauthorized):
        verify(signer.text(claims, algorithm=used, header=json.dumps({"alg": wanted}).encode()))


def test_no_message_tells_the_secret(signer, now_us):
    for token in (signer.token(exp=1), signer.token()[:-4] + "AAAA", "x", signer.token(aud="other")):
        inspection = inspect_user_token(
            token, app_id="chat-app", secrets=signer.all_secrets, now_us=now_us, leeway_s=0
        )
        assert inspection.problem is not None
        assert "shared secret" not in inspection.problem


PARTS = st.binary(max_size=60).map(base64url) | st.sampled_from(
    [base64url(b'{"alg":"HS256"}'), base64url(b'{"alg":"RS256"}'), base64url(b"{}"), "", "."]
)


@given(st.lists(PARTS, max_size=5).map(".".join) | st.text(max_size=60))
def test_any_text_at_all_is_refused_and_never_breaks_the_verifier(token):
    with pytest.raises(Unauthorized):
        verify_user_token(token, app_id="chat-app", secrets=[SECRET], now_us=0, leeway_s=0)


@given(
    claims=st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["sub", "aud", "iat", "exp", "nbf", "channels", "info", "jti"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_claims_at_all_under_a_good_signature_are_refused_or_granted(claims):
    token = signed_with(SECRET.material, b'{"alg":"HS256"}', claims)
    try:
        grant = verify_user_token(token, app_id="chat-app", secrets=[SECRET], now_us=0, leeway_s=0)
    except Unauthorized:
        return
    assert grant.app_id == "chat-app"
