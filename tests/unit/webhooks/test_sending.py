"""One POST, against real servers that answer in every way that a server can think of."""

import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trustme
from trio.testing import MockClock
from webhook_receiver import OK, Received, Reply, answer, open_receiver

from polyglotd.access.addresses import parse_networks
from polyglotd.access.webhook_addresses import Allowed, check_url
from polyglotd.access.webhook_secrets import new_webhook_secret, signature_headers
from polyglotd.model import now_us
from polyglotd.processor.webhooks.connecting import Connector, Resolve, resolve
from polyglotd.processor.webhooks.sending import BODY_S, TOTAL_S, Outcome, Sender

ALL = Allowed(everything=True)
_LOOPBACK: Resolve = lambda *_: ["127.0.0.1"]  # noqa: E731
BODY = b'{"type":"batch","data":[]}'
PATIENT = 0.15  # real seconds without news, after which the clock goes on to the next deadline


@asynccontextmanager
async def sender(
    allowed: Allowed = ALL, tls: ssl.SSLContext | None = None, resolve: Resolve = resolve
) -> AsyncIterator[Sender]:
    one = Sender(Connector(allowed, lambda: tls or ssl.create_default_context(), resolve))
    try:
        yield one
    finally:
        await one.aclose()


async def post(one: Sender, url: str, allowed: Allowed = ALL) -> Outcome:
    headers = signature_headers("msg_1", BODY, [new_webhook_secret()], now_us())
    return await one.post(check_url(url, allowed), headers, BODY)


async def test_a_message_arrives_with_its_headers_and_the_connection_is_used_again() -> None:
    async with open_receiver() as receiver, sender() as one:
        secret = new_webhook_secret()
        for number in range(3):
            headers = signature_headers(f"msg_{number}", BODY, [secret], now_us())
            outcome = await one.post(check_url(receiver.url(path="/a%20b?c=d"), ALL), headers, BODY)
            assert (outcome.good, outcome.status, outcome.error) == (True, 204, None)
        received = receiver.received
        assert [r.message_id for r in received] == ["msg_0", "msg_1", "msg_2"]
        assert received[0].path == "/a%20b?c=d"
        assert received[0].headers["host"] == f"127.0.0.1:{receiver.port}"
        assert received[0].headers["content-type"] == "application/json"
        received[0].verified(secret.text)
        assert receiver.connections == 1


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        pytest.param(answer(200, body=b"thanks"), 200, None, id="200"),
        pytest.param(answer(410), 410, "HTTP 410", id="gone"),
        pytest.param(answer(500, body=b"x" * 2_000), 500, "HTTP 500", id="500"),
        pytest.param(answer(302, "Location: http://127.0.0.1:1/"), 302, "redirects are not followed", id="redirect"),
    ],
)
async def test_the_status_decides(reply: Reply, status: int, words: str | None) -> None:
    async with open_receiver(reply) as receiver, sender() as one:
        outcome = await post(one, receiver.url())
        assert outcome.status == status
        assert outcome.good == (words is None)
        assert words is None or (outcome.error is not None and words in outcome.error)
        assert len(receiver.received) == 1
        assert len(outcome.answer) <= 1_000


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("Retry-After: 120", 120.0), ("Retry-After: 99999999999", 3_600.0), ("Retry-After: soon", None),
     ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Retry-After: -5", None), ("X-Other: 1", None)],
)  # fmt: skip
async def test_a_retry_after_is_heard_within_bounds(header: str, wait_s: float | None) -> None:
    async with open_receiver(answer(503, header)) as receiver, sender() as one:
        assert (await post(one, receiver.url())).retry_after_s == wait_s


async def test_a_connection_that_ended_while_it_was_idle_is_no_failure() -> None:
    async def reply_and_close(received: Received, stream: trio.abc.Stream) -> None:
        await OK(received, stream)
        await trio.aclose_forcefully(stream)

    async with open_receiver(reply_and_close) as receiver, sender() as one:
        for _ in range(3):
            assert (await post(one, receiver.url())).good
        assert receiver.connections == 3


# --- endpoints that behave badly ---


async def _hang(received: Received, stream: trio.abc.Stream) -> None:
    await stream.receive_some(1)  # until the other side goes


async def _head_byte_by_byte(received: Received, stream: trio.abc.Stream) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 1_000:
        await stream.send_all(bytes([byte]))
        await trio.sleep(4)


async def _body_byte_by_byte(received: Received, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        await stream.send_all(b"x")
        await trio.sleep(0.5)


async def _endless_informational(received: Received, stream: trio.abc.Stream) -> None:
    while True:
        await stream.send_all(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)
        await trio.sleep(4)


@pytest.mark.parametrize(
    ("reply", "status", "at_most_s"),
    [
        pytest.param(_hang, None, TOTAL_S, id="hangs"),
        pytest.param(_head_byte_by_byte, None, TOTAL_S, id="answers byte by byte"),
        pytest.param(_endless_informational, None, TOTAL_S, id="says 102 for ever"),
        pytest.param(_body_byte_by_byte, 200, BODY_S, id="sends a body byte by byte"),
    ],
)
async def test_a_slow_endpoint_is_left_after_its_time(
    reply: Reply, status: int | None, at_most_s: float, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = PATIENT
    async with open_receiver(reply) as receiver, sender() as one:
        began_s = trio.current_time()
        outcome = await post(one, receiver.url())
        assert outcome.status == status
        assert trio.current_time() - began_s <= at_most_s + 1
        if status is None:
            assert outcome.error == "no answer within 15 s"
        await receiver.wait_for(lambda r: r.closed == 1)  # nothing stays open


@pytest.mark.parametrize("status", [200, 500])
async def test_of_a_body_of_10_gb_little_is_read(status: int) -> None:
    sent = 0

    async def flood(received: Received, stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.send_all(f"HTTP/1.1 {status} So\r\nContent-Length: 10737418240\r\n\r\n".encode())
        chunk = bytes(1 << 20)
        for _ in range(10_240):
            await stream.send_all(chunk)
            sent += len(chunk)

    async with open_receiver(flood) as receiver, sender() as one:
        outcome = await post(one, receiver.url())
        assert outcome.status == status
        await receiver.wait_for(lambda r: r.closed == 1)
        assert sent < 32 << 20  # what the kernel's buffers take


@pytest.mark.parametrize(
    "bytes_",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x00\xff" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"",
    ],
    ids=["another protocol", "noise", "an endless head", "half a line", "two lengths", "nothing"],
)  # fmt: skip
async def test_what_is_no_answer_is_a_failure_in_words(bytes_: bytes) -> None:
    async def reply(received: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(bytes_)
        await trio.aclose_forcefully(stream)

    async with open_receiver(reply) as receiver, sender() as one:
        outcome = await post(one, receiver.url())
        assert outcome.status is None
        assert outcome.error


async def test_a_refused_connection_is_a_failure_in_words() -> None:
    async with open_receiver() as receiver:
        url = receiver.url()
    async with sender() as one:
        outcome = await post(one, url)
        assert outcome.error is not None
        assert "refused" in outcome.error.lower()


# --- names and addresses ---


async def test_a_name_that_means_a_private_address_is_not_connected_to() -> None:
    async with open_receiver() as receiver:
        async with sender(Allowed(), resolve=_LOOPBACK) as one:
            outcome = await post(one, f"https://hooks.example:{receiver.port}/", Allowed())
        assert outcome.error is not None
        assert "127.0.0.1 is no public address" in outcome.error
        assert receiver.connections == 0


async def test_a_name_that_rebinds_is_asked_once_and_connected_to_where_it_was_checked() -> None:
    """Every answer but the first is an address that must not be reached."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    allowed = Allowed(networks=parse_networks(["127.0.0.1/32"]))
    async with open_receiver() as receiver, sender(allowed, resolve=rebinding) as one:
        assert (await post(one, f"http://rebind.example:{receiver.port}/", allowed)).good
        assert asked == ["rebind.example"]
        assert receiver.received[0].headers["host"] == f"rebind.example:{receiver.port}"
        assert (await post(one, f"http://rebind.example:{receiver.port}/", allowed)).good  # kept: nothing is asked
        assert asked == ["rebind.example"]
        await one.aclose()
        outcome = await post(one, f"http://rebind.example:{receiver.port}/", allowed)
        assert outcome.error is not None
        assert "127.0.0.2 is no public address" in outcome.error
        assert len(receiver.received) == 2


async def test_of_several_addresses_the_forbidden_ones_are_passed_over() -> None:
    allowed = Allowed(networks=parse_networks(["127.0.0.1/32"]))
    found = ["169.254.169.254", "::ffff:127.0.0.2", "127.0.0.1"]
    async with open_receiver() as receiver, sender(allowed, resolve=lambda *_: found) as one:
        assert (await post(one, f"http://many.example:{receiver.port}/", allowed)).good


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "0"])
async def test_other_spellings_of_loopback_are_seen_through(host: str) -> None:
    async with open_receiver() as receiver, sender(Allowed()) as one:
        outcome = await post(one, f"https://{host}:{receiver.port}/", Allowed())
        assert outcome.error is not None
        assert receiver.connections == 0


async def test_a_name_that_is_not_there_is_a_failure_in_words() -> None:
    async with sender() as one:
        outcome = await post(one, "https://does-not-exist.invalid/")
        assert outcome.error is not None
        assert "can't be resolved" in outcome.error


async def test_a_lookup_that_hangs_is_left_after_its_time(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = PATIENT
    end = threading.Event()

    def hanging(host: str, port: int) -> Sequence[str]:
        end.wait(30)
        return []

    async with sender(resolve=hanging) as one:
        assert (await post(one, "https://slow.example/")).error == "no answer within 15 s"
    end.set()


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with open_receiver() as proxy, open_receiver() as receiver, sender() as one:
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url(path=""))
            assert (await post(one, receiver.url())).good
            assert proxy.connections == 0

    trio.run(main)


# --- TLS ---


def _server(ca: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


def _trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def test_a_certificate_that_changes_is_checked_at_every_new_connection() -> None:
    ours, foreign = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrong_name, wrong_ca = _server(ours, "other.example"), _server(foreign, "hooks.example")
    good = _server(ours, "hooks.example")
    current = good

    def choose(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        sock.context = current

    context.sni_callback = choose
    ours.issue_cert("hooks.example").configure_cert(context)
    async with (
        open_receiver(tls=context) as receiver,
        sender(tls=_trusting(ours), resolve=_LOOPBACK) as one,
    ):
        url = f"https://hooks.example:{receiver.port}/hook"
        assert (await post(one, url)).good
        current = wrong_ca
        assert (await post(one, url)).good  # the connection is the one that was checked
        for current in (wrong_ca, wrong_name):  # noqa: B007
            await one.aclose()
            outcome = await post(one, url)
            assert outcome.status is None
            assert outcome.error is not None
            assert outcome.error.startswith("TLS: ")
        current = good
        assert (await post(one, url)).good
        assert len(receiver.received) == 3


async def test_a_server_that_speaks_no_tls_is_a_failure_in_words() -> None:
    async with open_receiver() as receiver, sender() as one:
        outcome = await post(one, receiver.url().replace("http://", "https://"))
        assert outcome.error is not None
        assert outcome.error.startswith("TLS: ")


def test_no_header_of_a_message_can_hold_another_line() -> None:
    """Ids and signatures are ours and a URL was checked; if one were not, nothing would be sent."""
    with pytest.raises(h11.LocalProtocolError):
        h11.Request(method="POST", target="/a\r\nX: 1", headers=[("Host", "a")])
