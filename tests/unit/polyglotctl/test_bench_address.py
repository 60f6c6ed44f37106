"""Where the bench finds a socket."""

import pytest

from polyglotctl.bench.web_address import WebAddress, web_address
from polyglotctl.failure import Unreachable, WrongUsage


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://127.0.0.1:4001", WebAddress("127.0.0.1", 4001, "127.0.0.1:4001", "/socket/websocket?vsn=2.0.0")),
        ("http://127.0.0.1:1/", WebAddress("127.0.0.1", 1, "127.0.0.1:1", "/socket/websocket?vsn=2.0.0")),
        (
            "ws://127.0.0.1/live/websocket?a=b",
            WebAddress("127.0.0.1", 80, "127.0.0.1", "/live/websocket?vsn=2.0.0&a=b"),
        ),
        ("ws://[::1]:7/s?vsn=2.0.0&k=v", WebAddress("::1", 7, "[::1]:7", "/s?vsn=2.0.0&k=v")),
    ],
)
def test_a_url_becomes_an_address_and_a_request(url: str, address: WebAddress) -> None:
    assert web_address(url) == address


def test_without_a_url_it_is_where_polyglot_url_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLOT_URL", "http://127.0.0.1:4010")
    assert web_address(None).port == 4010
    monkeypatch.delenv("POLYGLOT_URL")
    assert web_address(None).port == 4000


@pytest.mark.parametrize("url", ["wss://x:1", "ftp://x", "127.0.0.1:4000", "ws://", "ws://x:99999"])
def test_what_is_no_plain_socket_is_wrong_usage(url: str) -> None:
    with pytest.raises(WrongUsage):
        web_address(url)


def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        web_address("ws://no-such-host.invalid:1")
