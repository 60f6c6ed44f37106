"""The driver's request heads and handshakes against the Python plane's (so h11's): the same verdicts and answers."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import Forbidden, Malformed, Refusal, Unavailable
from polyglotd.plane.asgi import request_head
from polyglotd.plane.asgi.handshake import HandshakeRefused, accept_answer, read_upgrade

Tool = Callable[..., list[bytes]]

LINE = b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1"
FIELDS = [
    b"Host: localhost:4000",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
]


def head(*more: bytes, line: bytes = LINE, without: bytes | None = None, end: bytes = b"\r\n") -> bytes:
    fields = [field for field in FIELDS if without is None or not field.lower().startswith(without)]
    return end.join([line, *fields, *more, b"", b""])


def target(text: bytes) -> bytes:
    return head(line=b"GET " + text + b" HTTP/1.1")


def check_head(websocket_tool: Tool, data: bytes) -> None:
    """All that the two planes say of a request's head."""
    assert websocket_tool("head_size", data) == [b"%d" % (request_head.head_size(data) or 0)]
    assert websocket_tool("may_be_http", data) == [b"true" if request_head.may_be_http(data) else b"false"]
    assert websocket_tool("owner_of", data) == [request_head.owner_of(data).name.lower().encode()]
    assert websocket_tool("upgrade", data) == reference_upgrade(data)


def reference_upgrade(data: bytes) -> list[bytes]:
    try:
        upgrade = read_upgrade(data)
    except HandshakeRefused as refused:
        return [b"refused", refused.answer]
    answer = accept_answer(upgrade)
    subprotocol = (upgrade.subprotocol or "").encode()
    headers = [text.encode() for header in upgrade.headers for text in header]
    version = upgrade.serializer.version.encode()
    return [
        b"upgrade", upgrade.query.encode(), version, upgrade.key, subprotocol, answer, *headers
    ]  # fmt: skip


VERSIONS = b"HTTP/1.0 HTTP/0.9 HTTP/1.2 HTTP/2.0 HTTP/9.9 http/1.1 HTTP/1.10 HTTP/1. HTTP/1 HTTP/11 HTTPS/1.1 1.1"

QUERIES = b"""
? ?vsn ?vsn= ?vsn=1.0.0 ?vsn=2.0.0 ?vsn=2.0.1 ?vsn=2.0.0&vsn ?vsn&vsn=2.0.0 ?vsn=1.0.0&vsn=2.0.0
?vsn=2.0.0&a=b ?vsn=2.0.0&& ?&vsn=1.0.0& ?vsn=2.0.0;a=b ?VSN=3 ?%76sn=2.0.0 ?v%73n=%32%2e0%2E0
?vsn=2.0.0% ?vsn=2.0.0%0 ?vsn=2.0.0%00 ?vsn=%%32.0.0 ?vsn=+2.0.0 ?vsn=2.0.0+ ?vsn%20=3 ?vsn=2.0.0=
?=2.0.0 ?vsn=%ff ?vsn=%C0%B2.0.0 ?vsn[]=3 ?a=vsn=2.0.0 ?vsn=2.0.0#x ?vsn=%2x.0.0
?vs%6E=%31.0.0&v+sn=3
"""

HEADS = {
    "a sound one": head(),
    "bytes after it": head() + b"\x81\x80abcd",
    "not whole": head()[:-2],
    "nothing": b"",
    "bare line feeds": head(end=b"\n"),
    "line ends of both kinds": head(b"a: b\nc: d"),
    "an empty line of both kinds": head()[:-2] + b"\n",
    "a lone carriage return in a value": head(b"a: b\rc"),
    "two carriage returns": head(b"a: b\r"),
    "a lone carriage return as a line": head(b"\r"),
    "an empty line before it": b"\r\n" + head(),
    "an empty bare line before it": b"\n" + head(),
    "a space before it": b" " + head(),
    "a folded line": head(b"a: b", b"  c"),
    "a folded line with a tab": head(b"a: b", b"\tc", b"\t\t", b" d"),
    "a folded handshake": head(b"Connection:", b" Upgrade", without=b"connection"),
    "a fold before the colon": head(b"a", b" : b"),
    "a fold within a name": head(b"a", b" b: c"),
    "a fold at the start": b"GET / HTTP/1.1\r\n a: b\r\n\r\n",
    "a fold after the request line": head(line=LINE + b"\r\n x"),
    "a fold of nothing": head(b" "),
    "a folded value of blanks": head(b"a: ", b" \t"),
    "a space before the colon": head(b"a : b"),
    "a tab before the colon": head(b"a\t: b"),
    "no name": head(b": b"),
    "no colon": head(b"ab"),
    "no value": head(b"a:"),
    "blanks for a value": head(b"a: \t "),
    "blanks around a value": head(b"a:\t b c \t"),
    "an odd name": head(b"!#$%&'*+-.^_`|~09aZ: b"),
    "a name in brackets": head(b"(a): b"),
    "a name that is not ASCII": head(b"\xe4: b"),
    "a name with a zero byte": head(b"a\0: b"),
    "a value in latin-1": head(b"a: \xe4\xff\x80 b"),
    "a value in UTF-8": head("a: é𝄞".encode()),
    "control characters": head(b"a: " + bytes(c for c in range(1, 32) if c not in b"\t\n\v\f\r") + b"\x7f"),
    "a zero byte": head(b"a: b\0c"),
    "a vertical tab": head(b"a: b\vc"),
    "a form feed at the end": head(b"a: b\f"),
    "two hosts": head(b"host: x"),
    "no host": head(without=b"host"),
    "an empty host": head(b"host:", without=b"host"),
    "a strange host": head(b"host: a b/c", without=b"host"),
    "a length": head(b"content-length: 0"),
    "a length that is none": head(b"content-length: -1"),
    "an empty length": head(b"content-length:"),
    "a length of 20 digits": head(b"content-length: " + b"9" * 20),
    "a length of 21 digits": head(b"content-length: " + b"9" * 21),
    "one length twice": head(b"content-length: 5, 5", b"content-length: 5"),
    "two lengths": head(b"content-length: 5", b"content-length: 6"),
    "two lengths in one": head(b"content-length: 5,6"),
    "a length and nothing": head(b"content-length: 5,"),
    "chunks": head(b"transfer-encoding: Chunked"),
    "chunks twice": head(b"transfer-encoding: chunked", b"transfer-encoding: chunked"),
    "another coding": head(b"transfer-encoding: gzip, chunked"),
    "no coding": head(b"transfer-encoding:"),
    "no connection": head(without=b"connection"),
    "connection close": head(b"Connection: close", without=b"connection"),
    "connection in two headers": head(b"Connection: a", b"CONNECTION: ,uPGRADE ,", without=b"connection"),
    "connection in quotes": head(b'Connection: "upgrade"', without=b"connection"),
    "no upgrade": head(without=b"upgrade"),
    "upgrade to a version": head(b"Upgrade: websocket/13", without=b"upgrade"),
    "upgrade to more": head(b"Upgrade: h2c, WebSocket", without=b"upgrade"),
    "upgrade with a space before the colon": head(b"Upgrade : websocket", without=b"upgrade"),
    "no version": head(without=b"sec-websocket-version"),
    "another version": head(b"Sec-WebSocket-Version: 8", without=b"sec-websocket-version"),
    "two versions": head(b"Sec-WebSocket-Version: 13"),
    "two versions in one": head(b"Sec-WebSocket-Version: 13, 8", without=b"sec-websocket-version"),
    "no key": head(without=b"sec-websocket-key"),
    "two keys": head(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    **{
        f"the key {key!r}": head(b"Sec-WebSocket-Key: " + key, without=b"sec-websocket-key")
        for key in (
            b"", b"====", b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ===",
            b"dGhlIHNhbXBsZSBub25jZf==", b"dGhlIHNhbXBsZSBub25jZQ==x", b"dGhlIHNhbXBs ZSBub25jZQ==",
            b"dGhlIHNhbXBs-SBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZ===", b"dGhlIHNhbXBsZSBub25jZWE=",
            b"=dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25j", b"\xe4GhlIHNhbXBsZSBub25jZQ==",
        )
    },
    "the sub-protocol": head(b"Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.dG9rZW4"),
    "the sub-protocol in a header of its own": head(b"Sec-WebSocket-Protocol: a", b"sec-websocket-protocol: phoenix"),
    "the sub-protocol in capitals": head(b"Sec-WebSocket-Protocol: Phoenix"),
    "an absolute target": target(b"http://localhost/socket/websocket"),
    "an asterisk": target(b"*"),
    "a fragment": target(b"/socket/websocket#?vsn=3"),
    "two question marks": target(b"/socket/websocket?a=?&vsn=1.0.0?"),
    "another path": target(b"/socket/websocket/"),
    "a path in capitals": target(b"/socket/WebSocket"),
    "an escaped path": target(b"/socket/%77ebsocket"),
    "a target that is not ASCII": target(b"/socket/websocket?\xe4"),
    "a target with a control character": target(b"/socket/websocket?\x01"),
    "two spaces before the target": target(b" /socket/websocket"),
    "two spaces after the target": target(b"/socket/websocket "),
    "a tab after the target": target(b"/socket/websocket\tx"),
    "no target": head(line=b"GET HTTP/1.1"),
    "a method alone": head(line=b"GET"),
    "a method and a space": head(line=b"GET "),
    "an empty method": head(line=b" /socket/websocket HTTP/1.1"),
    "another method": head(line=b"POST /socket/websocket HTTP/1.1"),
    "a method in small letters": head(line=b"get /socket/websocket HTTP/1.1"),
    "an odd method": head(line=b"G@T /socket/websocket HTTP/1.1"),
    "connect": head(line=b"CONNECT localhost:1 HTTP/1.1"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a space at the end of the request line": head(line=LINE + b" "),
    **{
        f"the version {version!r}": head(line=b"GET /socket/websocket " + version, without=without)
        for version in [*VERSIONS.split(), b""]
        for without in (None, b"host")
    },
    **{
        f"vsn in {query!r}": target(b"/socket/websocket" + query)
        for query in [*QUERIES.split(), b""]
    },
}  # fmt: skip


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS)
def test_an_odd_head_gets_the_same_verdict(websocket_tool: Tool, data: bytes) -> None:
    check_head(websocket_tool, data)


def test_each_byte_in_each_place_of_a_head_gets_the_same_verdict(websocket_tool: Tool) -> None:
    pieces = [b"G%cT /socket/websocket HTTP/1.1", b"GET /s%cx HTTP/1.1", b"GET / %cHTTP/1.1", b"GET / HTTP/1%c1"]
    for byte in range(256):
        for piece in pieces:
            check_head(websocket_tool, head(line=piece % byte))
        for field in (b"a%cb: c", b"%ca: b", b"a: b%cc", b"a: b%c", b"a:%cb", b"Connection: %cupgrade"):
            check_head(websocket_tool, head(field % byte))


@st.composite
def mutated_heads(draw: st.DrawFn) -> bytes:
    lines = [
        draw(st.sampled_from([LINE, b"GET /socket/websocket HTTP/1.1", b"GET /socket/websocket?a=b HTTP/1.0"])),
        *FIELDS,
    ]
    lines += draw(
        st.lists(
            st.sampled_from(
                [b"a: b", b" fold", b"Host: y", b"Upgrade: h2c", b"x:\xe4", b"Sec-WebSocket-Protocol: phoenix"]
            ),
            max_size=3,
        )
    )
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(1, len(lines) - 1))
        lines.insert(draw(st.integers(1, len(lines) - 1)), lines.pop(at))
    data = bytearray(draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])).join([*lines, b"", b""]))
    odd = st.sampled_from([*b'\r\n\t \0\v\f:,;=&?%+"/.-_\x7f\x80\xff0129azAZ']) | st.integers(0, 255)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["insert", "replace", "delete"]))
        data[at : at + (how != "insert")] = b"" if how == "delete" else bytes([draw(odd)])
    return bytes(data)


@given(mutated_heads())
def test_a_head_with_some_bytes_changed_gets_the_same_verdict(websocket_tool: Tool, data: bytes) -> None:
    check_head(websocket_tool, data)


@given(st.text("vsn=&+%2e30; a", max_size=20) | st.text(st.characters(codec="ascii"), max_size=20))
def test_the_last_value_of_a_query_is_the_one_of_parse_qs(websocket_tool: Tool, query: str) -> None:
    values = parse_qs(query, keep_blank_values=True, errors="surrogateescape").get("vsn")
    value = None if values is None else values[-1].encode(errors="surrogateescape")
    assert websocket_tool("query", query, "vsn") == ([] if value is None else [value])


@pytest.mark.parametrize("status", [*HTTPStatus, 299, 599, 999])
def test_an_answer_is_the_same_for_every_status(websocket_tool: Tool, status: int) -> None:
    headers = [("content-type", "text/plain"), ("x-name", "äÿ\x80")]
    fields = [field for header in headers for field in header]
    assert websocket_tool("answer", int(status), b"\0body", *fields) == [
        request_head.answer(status, headers, b"\0body")
    ]


@pytest.mark.parametrize(
    ("refusal", "status", "more"),
    [
        (Malformed("not a request of HTTP"), 400, []),
        (Malformed('"odd" \\ wörds\n', field="handshake"), 431, []),
        (Unavailable("too busy", retry_after_ms=0), 503, [("retry-after", "1")]),
        (Forbidden("no"), 403, []),
    ],
)
def test_problem_details_are_the_same(
    websocket_tool: Tool, refusal: Refusal, status: int, more: list[tuple[str, str]]
) -> None:
    details = refusal.details()
    fields = [
        details.get("field", ""),
        details.get("retry_after_ms", -1),
        *(field for header in more for field in header),
    ]
    answer = websocket_tool("problem", status, refusal.reason, refusal.message, *fields)
    assert answer == [request_head.problem_answer(refusal, status, more)]


@given(st.binary(max_size=200))
def test_sha1_and_base64_are_those_of_the_standard_library(websocket_tool: Tool, data: bytes) -> None:
    assert websocket_tool("sha1", data) == [hashlib.sha1(data, usedforsecurity=False).digest()]
    assert websocket_tool("base64", data) == [base64.b64encode(data)]


@given(st.text("AZaz09+/=- \n", max_size=13) | st.binary(max_size=30).map(base64.b64encode))
def test_what_is_base64_is_so_for_both(websocket_tool: Tool, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    try:
        sizes = [b"%d" % len(base64.b64decode(data, validate=True))]
    except binascii.Error:
        sizes = []
    if len(data) % 4:
        sizes = []  # Python lets `0000=` pass
    assert websocket_tool("base64_size", data) == sizes
