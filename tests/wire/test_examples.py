"""The examples that are programs, run as they stand. (The page is in test_chromium, the curl script in test_curl.)"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from daemon_process import DaemonProcess

BOT = Path(__file__).parents[2] / "examples/chat_bot.py"
KEY = {"X-API-Key": "valid_key_chat-app"}
PATIENCE_S = 15.0


@contextmanager
def _bot(daemon: DaemonProcess, channel: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, str(BOT), channel], env={**os.environ, "POLYGLOT_URL": daemon.url}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            _hears(process, f"joined {channel}, 0 missed")
            yield process
        finally:
            process.kill()


def _hears(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    said = []
    while not said or said[-1] != line:
        text = process.stdout.readline()
        assert text, said  # it ended
        said.append(text.rstrip("\n"))


def _say(daemon: DaemonProcess, channel: str, text: str) -> None:
    path = f"{daemon.url}/apps/chat-app/channels/{channel}/publish"
    response = httpx.post(path, headers=KEY | {"X-User-Id": "ann"}, json={"type": "message", "data": {"text": text}})
    assert response.status_code == 200, response.text


def _conversation(daemon: DaemonProcess, channel: str, length: int) -> list[tuple[str, str]]:
    """Who said what, once there are so many messages."""
    path = f"{daemon.url}/apps/chat-app/channels/{channel}/history"
    end = time.monotonic() + PATIENCE_S
    with httpx.Client(headers=KEY) as http:
        while True:
            events = http.get(path).json()["events"]
            if len(events) >= length or time.monotonic() > end:
                return [(event["meta"]["user_id"], event["data"]["text"]) for event in events]
            time.sleep(0.05)


def test_the_bot_answers_who_says_hello(daemon: DaemonProcess) -> None:
    with _bot(daemon, "room:bot"):
        _say(daemon, "room:bot", "Hello everybody")
        assert _conversation(daemon, "room:bot", 2) == [("ann", "Hello everybody"), ("bot", "Hello, ann!")]
        _say(daemon, "room:bot", "what a day")
        _say(daemon, "room:bot", "hello again")
        assert _conversation(daemon, "room:bot", 5)[2:] == [
            ("ann", "what a day"), ("ann", "hello again"), ("bot", "Hello, ann!"),
        ]  # fmt: skip


def test_the_bot_answers_once_what_was_said_while_it_was_away(own_daemon: DaemonProcess) -> None:
    channel = "room:bot-away"
    with _bot(own_daemon, channel) as bot:
        own_daemon.kill()
        assert bot.stdout is not None
        assert bot.stdout.readline().startswith("connection lost")
        own_daemon.start()
        _say(own_daemon, channel, "hello, are you there?")
        assert _conversation(own_daemon, channel, 2)[1:] == [("bot", "Hello, ann!")]
