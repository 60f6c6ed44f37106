"""`polyglotctl tail` of patterns and whole apps against a real daemon, over its kill, and who may."""

import json
import signal
from pathlib import Path

import pytest
import trio
from daemon_process import DaemonProcess
from followers import Tail
from tenants import Operator
from test_polyglotctl import TAIL_LINES_WITHIN_S, Ctl
from trio_websocket import ConnectionRejected

APP = "chat-app"


async def first_cursor(daemon: DaemonProcess, pattern: str) -> str:
    """Where a tail that begins now would resume."""
    tail = Tail()
    async with trio.open_nursery() as nursery:
        url = f"{daemon.websocket_url}/admin/apps/{APP}/tail?channel={pattern}"
        await nursery.start(tail.run, url, {"Authorization": f"Bearer {daemon.admin_token}"})
        await tail.has(b"cursor")
        nursery.cancel_scope.cancel()
    return str(json.loads(tail.raw.splitlines()[0])["cursor"])


def test_a_tail_of_a_pattern_resumes_over_a_kill_each_event_once_in_the_order_of_its_channel(
    own_daemon: DaemonProcess, tmp_path: Path
) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(own_daemon.data)})
    lines = [
        json.dumps({"channel": f"room:t{number % 3}" if number % 4 else "post:other", "data": number})
        for number in range(600)
    ]
    tail = ctl.start("tail", APP, "room:t*", "--since", trio.run(first_cursor, own_daemon, "room:t*"), "-n", "450")
    try:
        for part in range(3):
            ctl.json(
                "publish", APP, "--type", "m", "--file", "-", stdin="\n".join(lines[200 * part : 200 * part + 200])
            )
            if part < 2:
                own_daemon.restart()
        out, err = tail.communicate(timeout=TAIL_LINES_WITHIN_S)
    finally:
        tail.kill()
        tail.wait()
    assert tail.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    for channel in ("room:t0", "room:t1", "room:t2"):
        expected = [n for n in range(600) if n % 4 and f"room:t{n % 3}" == channel]
        assert [event["data"] for event in events if event["channel"] == channel] == expected
    assert "connection lost" in err
    assert "missed" not in err


def test_a_whole_app_is_followed_with_its_memory_kinds_and_interrupted_with_130(
    own_daemon: DaemonProcess, tmp_path: Path
) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(own_daemon.data)})
    cursor = trio.run(first_cursor, own_daemon, "*")
    ctl.json("publish", APP, "room:x", "--type", "t", "--data", "1")
    tail = ctl.start("tail", APP, "--all", "--since", cursor, "--cursors")
    assert tail.stdout is not None
    try:
        assert json.loads(tail.stdout.readline())["event"]["channel"] == "room:x"  # it is there
        ctl.json("publish", APP, "ticker:x", "--type", "t", "--data", "1")
        message = json.loads(tail.stdout.readline())
        assert (message["event"]["channel"], message["event"]["seq"]) == ("ticker:x", 1)
        assert message["cursor"] != cursor
        tail.send_signal(signal.SIGINT)
        _, err = tail.communicate(timeout=TAIL_LINES_WITHIN_S)
    finally:
        tail.kill()
        tail.wait()
    assert tail.returncode == 130, err
    assert "memory_not_resumed" in err
    assert "Traceback" not in err


async def test_a_tail_of_a_pattern_is_an_operators_and_shows_one_app(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        mine, other = await operator.create("tails-mine"), await operator.create("tails-other")
        url = f"{daemon.websocket_url}/admin/apps/{mine.app_id}/tail?channel=*"
        with pytest.raises(ConnectionRejected) as refused:
            await Tail().run(url, mine.by_key)
        assert refused.value.status_code == 403
        tail = Tail()
        await nursery.start(tail.run, url, operator.credentials)
        for tenant, data in ((other, "theirs"), (mine, "ours")):
            for channel in ("room:x", "match:x"):
                await operator.publish(tenant, channel, f"{data} in {channel}")
        await tail.has(b"ours in room:x")
        await tail.has(b"ours in match:x")
        assert b"theirs" not in tail.raw
        nursery.cancel_scope.cancel()


def test_what_is_to_be_followed_must_be_said(daemon: DaemonProcess, tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)})
    for wrong in (("tail", APP), ("tail", APP, "room:*", "--all")):
        done = ctl.run(*wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--all" in done.stderr
    assert "invalid" in ctl.refused("tail", APP, "room:*", "--since", "epoch:1")
