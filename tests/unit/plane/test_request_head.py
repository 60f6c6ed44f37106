"""Request heads: where they end, whose they are, and which handshakes are sound."""

import pytest
import wsproto
import wsproto.events

from polyglotd.plane.asgi.handshake import HandshakeRefused, accept_answer, read_upgrade
from polyglotd.plane.asgi.request_head import Owner, head_size, may_be_http, owner_of

GOOD = {
    "host": "localhost:4000",
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def head(target: str = "/socket/websocket?vsn=2.0.0", line: str | None = None, **changed: str | None) -> bytes:
    fields = GOOD | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [line or f"GET {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items() if v is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\nmore", 27),
        (b"GET / HTTP/1.1\nhost: x\n\nmore", 24),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", None),
        (b"", None),
    ],
)
def test_a_head_ends_at_the_first_empty_line(data: bytes, size: int | None) -> None:
    assert head_size(data) == size


@pytest.mark.parametrize(
    ("data", "owner"),
    [
        (head(), Owner.PLANE),
        (head(upgrade="WebSocket"), Owner.PLANE),
        (head("/socket/websocket"), Owner.PLANE),
        (head("/socket/websocket?x=/y"), Owner.PLANE),
        (head(upgrade=None), Owner.GATEWAY),
        (head(upgrade="h2c"), Owner.GATEWAY),
        (head("/socket/websocketx"), Owner.GATEWAY),
        (head("/socket/websocket/"), Owner.GATEWAY),
        (head("/admin/apps/a/tail"), Owner.GATEWAY),
        (head(line="POST /socket/websocket HTTP/1.1"), Owner.GATEWAY),
        (head(line="GET"), Owner.GATEWAY),
        (b"PRI * HTTP/2.0\r\n\r\n", Owner.GATEWAY),
        (b"\r\n\r\n", Owner.GATEWAY),
    ],
)
def test_only_upgrades_of_the_socket_s_path_stay(data: bytes, owner: Owner) -> None:
    assert owner_of(data) is owner


@pytest.mark.parametrize("start", [b"", b"G", b"GET ", b"PRI * HTTP/2.0", b"\r\nGET", b"M-SEARCH *"])
def test_what_may_become_a_request_is_waited_for(start: bytes) -> None:
    assert may_be_http(start)


@pytest.mark.parametrize("start", [b"\x16\x03\x01", b" GET", b"\x00", b"G\xc3T "])
def test_what_can_t_become_a_request_is_not(start: bytes) -> None:
    assert not may_be_http(start)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(connection=None), 400),
        (head(connection="keep-alive"), 400),
        (head(sec_websocket_key=None), 400),
        (head(sec_websocket_key="c2hvcnQ="), 400),
        (head(sec_websocket_key="%%%"), 400),
        (head(sec_websocket_version=None), 426),
        (head(sec_websocket_version="8"), 426),
        (head(host=None), 400),
        (head(content_length="5"), 400),
        (head(transfer_encoding="chunked"), 400),
        (head(line="GET /socket/websocket HTTP/1.0"), 400),
        (head("/socket/webs\xf6cket"), 400),
        (head(bad="a\x00b"), 400),
        *((head(f"/socket/websocket?vsn={vsn}"), 403) for vsn in ("0.9.0", "1.5.0", "2.1.0", "3.0.0", "abc", "")),
    ],
)
def test_a_handshake_that_is_not_sound_is_refused_with_its_status(data: bytes, status: int) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        read_upgrade(data)
    answer = refused.value.answer
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert (b"sec-websocket-version: 13" in answer) is (status == 426)


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("/socket/websocket", "1.0.0"),
        ("/socket/websocket?vsn=1.0.0", "1.0.0"),
        ("/socket/websocket?token=t&vsn=2.0.0", "2.0.0"),
        ("/socket/websocket?vsn=1.0.0&vsn=2.0.0", "2.0.0"),
    ],
)
def test_vsn_chooses_the_serializer(target: str, version: str) -> None:
    assert read_upgrade(head(target)).serializer.version == version


def test_the_upgrade_holds_what_the_gateway_decides_on() -> None:
    upgrade = read_upgrade(head("/socket/websocket?app_id=a&token=b%20c", origin="http://x"))
    assert upgrade.query == "app_id=a&token=b%20c"
    assert ("origin", "http://x") in upgrade.headers


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (None, None),
        ("phoenix, base64url.bearer.phx.dG9rZW4", "phoenix"),
        ("base64url.bearer.phx.dG9rZW4,phoenix", "phoenix"),
        ("chat", None),
    ],
)
def test_the_sub_protocol_phoenix_is_answered_where_it_was_offered(offered: str | None, answered: str | None) -> None:
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    subprotocols = [] if offered is None else [part.strip() for part in offered.split(",")]
    request = client.send(wsproto.events.Request(host="h", target="/socket/websocket", subprotocols=subprotocols))
    client.receive_data(accept_answer(read_upgrade(request)))
    (event,) = client.events()
    assert isinstance(event, wsproto.events.AcceptConnection)
    assert event.subprotocol == answered
