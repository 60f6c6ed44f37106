"""`polyglotctl replay` against a real daemon: the past again, marked, in its spacing, gone on with after a stop."""

import json
import re
import shlex
import signal
import time
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess
from test_polyglotctl import Ctl

APP = "replayer"
DATA = ['{"b":1, "a":2}', "12345678901234567890", "[1,\n 2]", "null"]


@pytest.fixture(scope="module")
def ctl(daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> Ctl:
    ctl = Ctl(tmp_path_factory.mktemp("replay"), {"POLYGLOT_DATA": str(daemon.data)})
    ctl.json("tenant", "create", APP)
    return ctl


def publish(daemon: DaemonProcess, channel: str, data: str, **headers: str) -> Any:
    with httpx.Client(base_url=daemon.url, headers={"Authorization": f"Bearer {daemon.admin_token}"}) as client:
        answer = client.post(
            f"/apps/{APP}/channels/{channel}/publish",
            content=f'{{"type":"m","data":{data}}}',
            headers={"Content-Type": "application/json", **headers},
        )
    assert answer.status_code == 200, answer.text
    return answer.json()


def history(daemon: DaemonProcess, channel: str) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The events, and the text of each one's `data`."""
    with httpx.Client(base_url=daemon.url, headers={"Authorization": f"Bearer {daemon.admin_token}"}) as client:
        answer = client.get(f"/apps/{APP}/channels/{channel}/history", params={"limit": 1000})
    return answer.json()["events"], re.findall(rb'"data":(.*?),"seq":', answer.content, re.DOTALL)


def test_a_replay_is_the_past_again_by_the_same_users_and_says_that_it_is_one(
    ctl: Ctl, daemon: DaemonProcess
) -> None:
    for number in range(24):
        user = {} if number % 3 == 0 else {"X-User-Id": f"u{number % 3}"}
        publish(daemon, "room:then", DATA[number % len(DATA)], **user)
    done = ctl.json("replay", APP, "room:then", "--speed", "max")
    assert (done["into"], done["published"], done["duplicates"]) == ("room:replay-then", 24, 0)
    before, data_before = history(daemon, "room:then")
    after, data_after = history(daemon, "room:replay-then")
    assert data_after == data_before
    assert [event["meta"]["user_id"] for event in after] == [event["meta"]["user_id"] for event in before]
    assert [event["id"] for event in after] == [f"replay_{event['seq']}-{event['id']}" for event in before]
    again = ctl.json("replay", APP, "room:then", "--speed", "max", "--from", before[10]["meta"]["ts"])
    assert (again["published"], again["duplicates"]) == (0, 14)
    part = ctl.json("replay", APP, "room:then", "--speed", "0", "--to", before[10]["meta"]["ts"], "--into", "room:p")
    assert part["published"] == 10
    assert ctl.run("replay", APP, "room:then", "--into", "room:then").returncode == 2
    assert ctl.run("replay", APP, "room:then", "--speed", "fast").returncode == 2


def test_a_replay_has_the_spacing_of_then_and_is_gone_on_with_where_it_was_stopped(
    ctl: Ctl, daemon: DaemonProcess
) -> None:
    for number in range(4):
        publish(daemon, "room:slow", str(number))
        time.sleep(0.5)
    begun = time.monotonic()
    assert ctl.json("replay", APP, "room:slow", "--speed", "5", "--into", "room:quick")["published"] == 4
    assert time.monotonic() - begun >= 0.3
    process = ctl.start("replay", APP, "room:slow", "--speed", "0.01", "--into", "room:stopped")
    while not history(daemon, "room:stopped")[0]:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    command = next(line for line in err.splitlines() if "go on with: " in line).partition("go on with: ")[2]
    _, *arguments = shlex.split(command.replace("--speed 0.01", "--speed 0"))
    assert ctl.json(*arguments)["published"] == 3
    assert [event["data"] for event in history(daemon, "room:stopped")[0]] == [0, 1, 2, 3]


def test_a_replay_waits_as_long_as_its_limits_say(ctl: Ctl, daemon: DaemonProcess) -> None:
    lines = "\n".join(json.dumps({"channel": "room:fast", "type": "m", "data": n}) for n in range(60))
    ctl.json("publish", APP, "--file", "-", stdin=lines)
    ctl.json("quota", "set", APP, "--api-publishes", "40")
    try:
        done = ctl.json("replay", APP, "room:fast", "--speed", "max")
    finally:
        ctl.json("quota", "set", APP, "--api-publishes", "10000")
    assert (done["published"], done["refused"]) == (60, 0)
    assert [event["data"] for event in history(daemon, "room:replay-fast")[0]] == list(range(60))
