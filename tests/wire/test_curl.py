"""curl, as people type it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEY = ("-H", "X-API-Key: valid_key_chat-app")
JSON = ("-H", "Content-Type: application/json")
PATIENCE_S = "10"  # curl's own limit, so that nothing hangs


class Curl:
    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    def run(self, path: str, *arguments: str, body: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = ["curl", "-sS", "-m", PATIENCE_S, *arguments, self._daemon.url + path]
        return subprocess.run(command, input=body, capture_output=True, text=True, check=False, timeout=30)

    def ask(self, path: str, *arguments: str, body: str | None = None) -> tuple[int, Any]:
        """Status and body of an answer that is JSON."""
        done = self.run(path, "-w", "\n%{http_code}", *arguments, body=body)
        assert done.returncode == 0, done.stderr
        answer, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(answer)

    def publish(self, channel: str, data: Any, *arguments: str) -> tuple[int, Any]:
        body = json.dumps({"type": "message", "data": data})
        return self.ask(f"/apps/chat-app/channels/{channel}/publish", *KEY, *JSON, "-d", body, *arguments)

    def history(self, channel: str, *arguments: str) -> list[Any]:
        status, body = self.ask(f"/apps/chat-app/channels/{channel}/history", *KEY, *arguments)
        assert status == 200, body
        return [event["data"] for event in body["events"]]


@pytest.fixture
def curl(daemon: DaemonProcess) -> Curl:
    return Curl(daemon)


def test_http_1_0_is_answered_and_closed(curl: Curl) -> None:
    status, body = curl.publish("room:curl-10", 1, "--http1.0")
    assert (status, body["seq"]) == (200, 1)
    assert curl.history("room:curl-10", "--http1.0") == [1]


def test_a_chunked_body_is_a_body(curl: Curl) -> None:
    body = json.dumps({"type": "message", "data": "x" * 50_000})
    path = "/apps/chat-app/channels/room:curl-chunked/publish"
    arguments = (*KEY, *JSON, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", "@-")
    status, answer = curl.ask(path, *arguments, body=body)
    assert (status, answer["seq"]) == (200, 1)
    assert curl.history("room:curl-chunked") == ["x" * 50_000]


def test_expect_100_continue_is_answered_at_once(curl: Curl) -> None:
    status, _ = curl.publish("room:curl-expect", 1, "-H", "Expect: 100-continue", "--expect100-timeout", "9")
    assert status == 200
    done = curl.run(
        "/apps/chat-app/channels/room:curl-expect/publish", *KEY, *JSON, "-H", "Expect: 100-continue", "-v",
        "--expect100-timeout", "9", "-m", "5", "-d", '{"type": "message"}',
    )  # fmt: skip
    assert "HTTP/1.1 100" in done.stderr


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("room%3Acurl-percent", "room:curl-percent"),
        ("room:curl%2Fslash", "room%3acurl%2fslash"),
        ("room:gr%C3%BC%C3%9Fe", "room:grüße"),
        ("room:curl+plus", "room:curl%2Bplus"),
    ],
)
def test_a_channel_may_be_percent_encoded_as_one_likes(curl: Curl, written: str, other: str) -> None:
    status, body = curl.publish(written, "here")
    assert status == 200, body
    assert curl.history(other) == ["here"]


@pytest.mark.parametrize("channel", ["room:curl%00", "room:a%20b", "room:%ff", "room:a%2A", "room:", "nocolon"])
def test_what_no_channel_can_be_called_is_refused(curl: Curl, channel: str) -> None:
    status, body = curl.publish(channel, 1)
    assert status in (400, 404, 422), body
    assert body["status"] == status
    assert body["code"]


def test_n_shows_events_as_they_come(curl: Curl, daemon: DaemonProcess) -> None:
    command = ["curl", "-sSN", "-m", PATIENCE_S, *KEY, f"{daemon.url}/apps/chat-app/channels/room:curl-sse/events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("retry:")
            curl.publish("room:curl-sse", "one")
            lines = iter(process.stdout.readline, "")
            data = next(line for line in lines if line.startswith("data:"))
            assert json.loads(data.removeprefix("data:"))["data"] == "one"
        finally:
            process.kill()


def test_http_2_is_not_spoken_and_hurts_nobody(curl: Curl) -> None:
    upgraded = curl.run("/alive", "--http2", "-w", "%{http_version}")
    assert upgraded.returncode == 0
    assert upgraded.stdout.endswith("1.1")
    done = curl.run("/alive", "--http2-prior-knowledge")
    assert done.returncode != 0
    assert done.returncode != 28  # not by waiting
    assert curl.history("room:curl-http2") == []


def test_compressed_and_head_and_keep_alive(curl: Curl, daemon: DaemonProcess) -> None:
    assert curl.history("room:curl-compressed", "--compressed") == []
    head = curl.run("/alive", "-I")
    assert head.stdout.startswith("HTTP/1.1 200")
    both = curl.run("/alive", daemon.url + "/alive", "-v", "-o", "/dev/null", "-o", "/dev/null")
    assert both.returncode == 0
    assert re.search(r"Re-using existing connection", both.stderr)


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ((*JSON, "-d", "{}"), 401, "unauthorized"),
        ((*KEY, *JSON, "-d", "not json"), 400, "invalid"),
        ((*KEY, "-d", "type=message"), 415, "unsupported_media_type"),
        ((*KEY, *JSON, "-d", "{}"), 422, "invalid"),
        ((*KEY, *JSON, "-X", "PUT", "-d", "{}"), 405, "method_not_allowed"),
    ],
    ids=["no key", "no JSON", "a form", "no type", "PUT"],
)
def test_what_is_wrong_is_said(curl: Curl, arguments: tuple[str, ...], status: int, code: str) -> None:
    got, body = curl.ask("/apps/chat-app/channels/room:curl-wrong/publish", *arguments)
    assert (got, body["code"]) == (status, code), body
    assert body["status"] == status


def test_the_curl_example_publishes_and_reads_back(daemon: DaemonProcess) -> None:
    done = subprocess.run(
        ["bash", str(EXAMPLES / "publish_with_curl.sh"), "room:curl-example"],
        env={"PATH": "/usr/bin:/bin", "POLYGLOT_URL": daemon.url}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    published, history, presence = map(json.loads, done.stdout.splitlines())
    assert history["events"][-1]["id"] == published["id"]
    assert history["events"][-1]["data"] == {"text": "Hello from curl"}
    assert presence["presence"] == {}
