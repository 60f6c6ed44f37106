"""`polyglotctl export` and `import` with real daemons: byte for byte, resumed, from one installation to another."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess, daemon_process
from test_polyglotctl import Ctl

APP = "mover"
# What a JSON library would change: order, digits, escapes, white space, line breaks.
DATA = [
    '{"b":1, "a":2}',
    "334567890334567890",
    "1.10",
    '"\\u0000\\u00fc"',
    "[1,\n\r\n 2]",
    '{"text":"ü 😀"}',
    "null",
]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An installation with an app that has events in some channels."""
    with daemon_process() as daemon:
        ctl = Ctl(tmp_path_factory.mktemp("old"), {"POLYGLOT_DATA": str(daemon.data)})
        key = ctl.json("tenant", "create", APP)["api_key"]["key"]
        with httpx.Client(base_url=daemon.url, headers={"X-API-Key": key}) as client:
            for number in range(6):
                items = [
                    f'{{"channel":"{channel}","type":"m","data":{DATA[(number + place) % len(DATA)]}}}'
                    for place in range(10)
                    for channel in (("room:a", "room:b") if number % 3 else ("post:1", "ticker:none"))
                ]
                answer = client.post(
                    f"/apps/{APP}/publish",
                    content='{"events":[' + ",".join(items) + "]}",
                    headers={"Content-Type": "application/json", "X-User-Id": f"user{number % 5}"},
                )
                assert answer.status_code == 200, answer.text
        yield daemon


def counts(**named: int) -> dict[str, int]:
    return {"imported": 0, "duplicates": 0, "refused": 0, "skipped": 0} | named


def history(daemon: DaemonProcess, channel: str) -> tuple[str, int, bytes]:
    """Epoch and seq, and the events as bytes."""
    with httpx.Client(base_url=daemon.url, headers={"Authorization": f"Bearer {daemon.admin_token}"}) as client:
        answer = client.get(f"/apps/{APP}/channels/{channel}/history", params={"after": 0, "limit": 1000})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["epoch"], body["seq"], answer.content[answer.content.index(b'"events":') :]


def test_an_app_moves_to_another_installation_as_it_was(old: DaemonProcess, tmp_path: Path) -> None:
    from_old = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    for format_ in ("ndjson", "parquet"):
        assert from_old.json("export", APP, "--out", f"all.{format_}", "--format", format_)["events"] == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.ndjson", "all.parquet"]
    with daemon_process() as new:
        ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(new.data)})
        ctl.json("tenant", "create", APP)
        assert ctl.json("import", APP, "all.parquet") == counts(imported=100)
        assert ctl.json("import", APP, "all.ndjson") == counts(duplicates=100)
        before = {channel: history(old, channel) for channel in ("room:a", "room:b", "post:1")}
        assert {channel: history(new, channel) for channel in before} == before
        new.restart()
        assert {channel: history(new, channel) for channel in before} == before
        published = ctl.json("publish", APP, "room:a", "--type", "m", "--data", "1")
        assert published["seq"] == before["room:a"][1] + 1


def test_an_export_goes_on_behind_what_it_has(old: DaemonProcess, tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    whole = ctl.run("export", APP).stdout.encode()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 100
    with httpx.Client(base_url=old.url, headers={"Authorization": f"Bearer {old.admin_token}"}) as client:
        page = client.get(f"/admin/apps/{APP}/events", params={"limit": 33}).content.splitlines()
    cursor = json.loads(page[-1])["cursor"]
    assert len(page) == 34
    half = b"".join(lines[:33])
    out, state = tmp_path / "half.ndjson", tmp_path / "half.ndjson.state"
    query = {"app": APP, "channel": None, "from": None, "to": None}
    state.write_text(json.dumps({"query": query, "cursor": cursor, "bytes": len(half), "events": 33}))
    out.write_bytes(half + lines[33][:20])  # torn, as a crash leaves it
    assert ctl.json("export", APP, "--out", str(out))["events"] == 100
    assert out.read_bytes() == whole
    assert not state.exists()
    done = ctl.run("export", APP, "--out", str(out))
    assert (done.returncode, "there already" in done.stderr) == (2, True)
    state.write_text(json.dumps({"query": query, "cursor": cursor, "bytes": len(half), "events": 33}))
    assert "another export" in ctl.run("export", APP, "--channel", "room:a", "--out", str(out)).stderr


def test_an_export_has_the_channels_and_times_that_were_asked_for(old: DaemonProcess, tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    events = [json.loads(line) for line in ctl.run("export", APP, "--channel", "room:*").stdout.splitlines()]
    assert [event["channel"] for event in events] == ["room:a"] * 40 + ["room:b"] * 40
    assert [event["seq"] for event in events] == [*range(1, 41)] * 2
    middle, end = events[10]["meta"]["ts"], events[30]["meta"]["ts"]
    part = ctl.run("export", APP, "--channel", "room:a", "--from", middle, "--to", end).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in part] == list(range(11, 31))
    assert ctl.run("export", APP, "--channel", "room:").returncode == 1


def test_a_part_of_a_past_is_numbered_anew_and_what_is_in_the_way_is_named(
    old: DaemonProcess, tmp_path: Path
) -> None:
    from_old = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    lines = from_old.run("export", APP, "--channel", "room:*").stdout.splitlines(keepends=True)
    text = "".join(lines[20:30] + lines[40:50])
    from_old.json("tenant", "create", "part")
    from_old.json("publish", "part", "room:b", "--type", "m", "--data", "1")
    for expected in (counts(imported=10, refused=10), counts(duplicates=10, refused=10)):
        done = from_old.run("import", "part", "-", stdin=text)
        assert done.returncode == 1
        assert "room:b: conflict" in done.stderr
        assert json.loads(done.stdout) == expected
    shown = from_old.json("history", "part", "room:a")
    assert [event["seq"] for event in shown["events"]] == list(range(1, 11))
    assert [event["id"] for event in shown["events"]] == [json.loads(line)["id"] for line in lines[20:30]]
    assert shown["epoch"] != json.loads(lines[0])["epoch"]
    assert "memory" in from_old.run("import", "part", "-", stdin=lines[0].replace("room:a", "ticker:a")).stderr
    wrong = from_old.run("import", "part", "-", stdin='{"id":1}\n')
    assert (wrong.returncode, "line 1" in wrong.stderr) == (2, True)


def test_an_import_that_fills_the_stored_bytes_ends_and_goes_on_once_there_is_room(
    old: DaemonProcess, tmp_path: Path
) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    text = ctl.run("export", APP).stdout
    ctl.json("tenant", "create", "full")
    ctl.json("quota", "set", "full", "--stored-bytes", "20")
    done = ctl.run("import", "full", "-", stdin=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert "quota_exceeded" in done.stderr
    ctl.json("quota", "set", "full", "--stored-bytes", "1000000")
    again = ctl.json("import", "full", "-", stdin=text)
    assert again["imported"] + again["duplicates"] == 100
    assert 0 < again["imported"] < 100  # the first channel was there


def test_an_interrupted_export_ends_with_130_and_says_how_to_go_on(old: DaemonProcess, tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(old.data)})
    out = tmp_path / "slow.ndjson"
    state = tmp_path / "slow.ndjson.state"
    query = {"app": APP, "channel": None, "from": None, "to": None}
    state.write_text(json.dumps({"query": query, "cursor": None, "bytes": 0, "events": 7}))
    old_pid = old.pid
    old_stopped = subprocess.run(["kill", "-STOP", str(old_pid)], check=True)
    try:
        process = ctl.start("export", APP, "--out", str(out))
        while not out.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        subprocess.run(["kill", "-CONT", str(old_pid)], check=old_stopped.returncode == 0)
    assert process.returncode == 130, err
    assert "goes on" in err
