"""`phoenix-channels-python-client` from PyPI against the real daemon, as a program of its own (it is asyncio's).

It takes broadcasts in 1.0.0 only: in 2.0.0 it throws away every frame whose join_ref is not the channel's, and a
broadcast has none, with Phoenix too. There it hears replies, its own presence_state, and signals meant for its user.
"""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess

PROGRAM = Path(__file__).with_name("python_phoenix_client.py")
APP = "chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
PATIENCE_S = 15.0


class Program:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._heard: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first thing it said, or says next, that is wanted; the rest is kept for who wants that."""
        end = time.monotonic() + PATIENCE_S
        looked = 0
        while True:
            for place in range(looked, len(self._heard)):
                if wanted(self._heard[place]):
                    return self._heard.pop(place)
            looked = len(self._heard)
            try:
                said = self._said.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                raise AssertionError(f"not said within {PATIENCE_S} s, only {self._heard}") from None
            assert said is not None, self._heard
            self._heard.append(said)

    def did(self, what: str) -> None:
        self.until(lambda said: said.get("did") == what)

    def message(self, event: str) -> Any:
        return self.until(lambda said: said.get("event") == event)["payload"]

    def tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)


@contextmanager
def _program(daemon: DaemonProcess, topic: str, version: str) -> Iterator[Program]:
    command = [sys.executable, str(PROGRAM), daemon.websocket_url, APP, "valid_token_pia", topic, version]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            program = Program(process)
            program.did("join")
            yield program
            program.tell("end")
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def _publish(daemon: DaemonProcess, topic: str, data: Any) -> None:
    response = httpx.post(
        f"{daemon.url}/apps/{APP}/channels/{topic}/publish", headers=KEY, json={"type": "message", "data": data}
    )
    assert response.status_code == 200, response.text


def test_in_1_0_0_it_joins_and_hears_events_presence_and_replies(daemon: DaemonProcess) -> None:
    topic = "room:python-1"
    with _program(daemon, topic, "1.0") as program:
        assert "pia" in program.message("presence_state")
        program.did("heartbeat")
        _publish(daemon, topic, {"text": "Grüße"})
        event = program.message("event")
        assert (event["data"], event["channel"]) == ({"text": "Grüße"}, topic)
        program.tell("push", "publish", '{"type": "message", "data": {"text": "mine"}}')
        assert program.message("event")["meta"]["user_id"] == "pia"
        reply = program.message("phx_reply")
        assert (reply["status"], reply["response"]["seq"]) == ("ok", event["seq"] + 1)
        program.tell("leave")
        program.did("leave")


def test_in_2_0_0_it_joins_and_hears_replies_and_what_is_meant_for_it(daemon: DaemonProcess) -> None:
    topic = "room:python-2"
    with _program(daemon, topic, "2.0") as program:
        assert "pia" in program.message("presence_state")
        program.did("heartbeat")
        program.tell("push", "publish", '{"type": "message", "data": {"text": "mine"}}')
        reply = program.message("phx_reply")
        assert reply["status"] == "ok"
        program.tell("push", "no_such_event", "{}")
        assert program.message("phx_reply")["response"]["reason"] == "unknown_event"
        program.tell("leave")
        program.did("leave")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_it_comes_back_by_itself_after_kill_9(version: str, own_daemon: DaemonProcess) -> None:
    topic = f"room:python-again-{version}"
    with _program(own_daemon, topic, version) as program:
        assert "pia" in program.message("presence_state")
        own_daemon.restart()
        program.did("reconnect")
        program.tell("push", "publish", '{"type": "message", "data": {"text": "again"}}')
        assert program.message("phx_reply")["status"] == "ok"


def test_a_kick_takes_its_topic_away_and_a_bad_token_its_connection(daemon: DaemonProcess) -> None:
    topic = "room:python-kick"
    with _program(daemon, topic, "2.0") as program:
        response = httpx.post(f"{daemon.url}/apps/{APP}/channels/{topic}/kick", headers=KEY, json={"user": "pia"})
        assert response.is_success, response.text
        assert program.until(lambda said: "lost" in said)["lost"] == topic
    refused = subprocess.run(
        [sys.executable, str(PROGRAM), daemon.websocket_url, APP, "bad", topic, "2.0"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "403" in refused.stderr
