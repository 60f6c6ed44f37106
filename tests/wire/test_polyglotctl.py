"""The operator's command line against a real daemon, over the Unix socket and over TCP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess

COMMAND = str(Path(sys.executable).with_name("polyglotctl"))
TAIL_LINES_WITHIN_S = 60


class Ctl:
    """Runs `polyglotctl` for one server."""

    def __init__(self, cwd: Path, environ: dict[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYGLOT_")}
        self._options: dict[str, Any] = {"cwd": cwd, "env": clean | environ, "text": True}

    def run(self, *args: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        extra: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run([COMMAND, *args], capture_output=True, timeout=60, **extra, **self._options)

    def json(self, *args: str, stdin: str | None = None) -> Any:
        """The answer of a command that must succeed."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    def refused(self, *args: str) -> str:
        """What a command says that the server must refuse."""
        done = self.run(*args)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def start(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [COMMAND, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **self._options,
        )


@pytest.fixture
def ctl(daemon: DaemonProcess, tmp_path: Path) -> Ctl:
    """Over the admin socket, as an operator on the same machine."""
    return Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)})


@pytest.fixture
def remote_ctl(daemon: DaemonProcess, tmp_path: Path) -> Ctl:
    """Over TCP with the admin token, as an operator elsewhere."""
    return Ctl(tmp_path, {"POLYGLOT_URL": daemon.url, "POLYGLOT_ADMIN_TOKEN": daemon.admin_token})


@pytest.fixture
def app_id(ctl: Ctl, request: pytest.FixtureRequest) -> Iterator[str]:
    """An app of the test's own."""
    name = f"ctl-{abs(hash(request.node.name)) % 10**8}"
    ctl.json("tenant", "create", name)
    yield name
    ctl.run("tenant", "delete", name, "--yes")


def test_a_new_tenant_gets_all_that_it_needs_once(ctl: Ctl) -> None:
    created = ctl.json("tenant", "create", "shop-a", "--name", "The shop")
    assert created["app"]["app_id"] == "shop-a"
    assert created["app"]["name"] == "The shop"
    key, secret = created["api_key"]["key"], created["signing_secret"]["secret"]
    assert key.startswith("plk_")
    everything = json.dumps([ctl.json("key", "list", "shop-a"), ctl.json("secret", "list", "shop-a")])
    assert key not in everything
    assert secret not in everything
    assert "conflict" in ctl.refused("tenant", "create", "shop-a")
    ctl.json("tenant", "delete", "shop-a", "--yes")
    assert "not_found" in ctl.refused("tenant", "show", "shop-a")


def test_tenants_are_listed_shown_named_suspended_and_resumed(ctl: Ctl, app_id: str) -> None:
    assert app_id in [app["app_id"] for app in ctl.json("tenant", "list")["apps"]]
    assert ctl.json("tenant", "set", app_id, "--name", "New name")["name"] == "New name"
    shown = ctl.json("tenant", "show", app_id)
    assert (shown["name"], shown["suspended"]) == ("New name", False)
    assert "connections" in json.dumps(shown["usage"])
    assert ctl.json("tenant", "suspend", app_id, "--yes")["suspended"] is True
    assert ctl.json("tenant", "resume", app_id)["suspended"] is False


def test_a_rotated_key_works_beside_the_new_one_and_a_revoked_one_not(
    ctl: Ctl, app_id: str, daemon: DaemonProcess, tmp_path: Path
) -> None:
    old = ctl.json("key", "create", app_id, "--scope", "read", "--name", "reader")
    new = ctl.json("key", "rotate", app_id, old["key_id"], "--grace", "1h")
    assert new["scopes"] == old["scopes"] == ["read"]

    def reads(key: str) -> bool:
        with_key = Ctl(tmp_path, {"POLYGLOT_URL": daemon.url, "POLYGLOT_API_KEY": key})
        return with_key.run("history", app_id, "room:x").returncode == 0

    assert reads(old["key"])
    assert reads(new["key"])
    ctl.json("key", "revoke", app_id, old["key_id"], "--yes")
    time.sleep(1)  # what the contract allows
    assert not reads(old["key"])
    assert reads(new["key"])
    with_key = Ctl(tmp_path, {"POLYGLOT_URL": daemon.url, "POLYGLOT_API_KEY": new["key"]})
    assert "forbidden" in with_key.refused("publish", app_id, "room:x", "--type", "t", "--data", "1")


def test_a_token_is_issued_inspected_and_revoked(ctl: Ctl, app_id: str) -> None:
    done = ctl.run("token", "issue", app_id, "alice", "--channel", "room:*=join,publish", "--ttl", "1h")
    token = done.stdout.strip()
    assert done.returncode == 0
    assert token.count(".") == 2
    inspected = ctl.json("token", "inspect", app_id, token)
    assert inspected["valid"] is True
    assert inspected["claims"]["sub"] == "alice"
    assert inspected["claims"]["channels"] == {"room:*": ["join", "publish"]}
    ctl.json("token", "revoke", app_id, token)
    time.sleep(1)
    assert ctl.json("token", "inspect", app_id, token)["valid"] is False


def test_secrets_are_created_imported_and_revoked(ctl: Ctl, app_id: str, tmp_path: Path) -> None:
    created = ctl.json("secret", "create", app_id)
    (tmp_path / "secret").write_text("s" * 40 + "\n")
    imported = ctl.json("secret", "import", app_id, "secret", "--algorithm", "HS256")
    listed = {secret["secret_id"] for secret in ctl.json("secret", "list", app_id)["secrets"]}
    assert {created["secret_id"], imported["secret_id"]} <= listed
    ctl.json("secret", "revoke", app_id, created["secret_id"], "--yes")
    (tmp_path / "short").write_text("short")
    assert "32" in ctl.refused("secret", "import", app_id, "short", "--algorithm", "HS256")


def test_limits_change_and_go_back_to_their_defaults(ctl: Ctl, app_id: str) -> None:
    changed = ctl.json("quota", "set", app_id, "--connections", "50000", "--payload-bytes", "100")
    assert (changed["limits"]["connections"], changed["limits"]["payload_bytes"]) == (50000, 100)
    assert ctl.json("quota", "show", app_id)["limits"]["connections"] == 50000
    data = json.dumps("x" * 200)
    assert "payload_too_large" in ctl.refused("publish", app_id, "room:x", "--type", "t", "--data", data)
    back = ctl.json("quota", "set", app_id, "--payload-bytes", "default")
    assert back["limits"]["payload_bytes"] == back["defaults"]["payload_bytes"]
    ctl.json("publish", app_id, "room:x", "--type", "t", "--data", data)


def test_kinds_are_added_changed_and_reset(ctl: Ctl, app_id: str) -> None:
    ctl.json("kind", "set", app_id, "alerts", "--durability", "logged", "--history", "2d", "--publish", "none")
    shown = ctl.json("kind", "show", app_id, "alerts")
    assert (shown["durability"], shown["history_s"], shown["publish"]) == ("logged", 172800, "none")
    assert {"room", "ticker", "match", "post", "alerts"} <= set(ctl.json("kind", "list", app_id)["kinds"])
    ctl.json("publish", app_id, "alerts:all", "--type", "t", "--data", "1")
    ctl.json("kind", "set", app_id, "alerts", "--reset")
    assert "not_found" in ctl.refused("kind", "show", app_id, "alerts")


def test_history_shows_what_was_published_as_it_was(ctl: Ctl, remote_ctl: Ctl, app_id: str) -> None:
    data = '{"b": 1.10, "a": 12345678901234567890123}'
    published = ctl.json("publish", app_id, "room:h", "--type", "message", "--data", data, "--id", "mine")
    assert published["seq"] == 1
    again = remote_ctl.json("publish", app_id, "room:h", "--type", "message", "--data", data, "--id", "mine")
    assert (again["id"], again["seq"], again["duplicate"]) == ("mine", 1, True)
    ctl.json("publish", app_id, "room:h", "--type", "note", "--data", "-", "--user", "alice", stdin='"from stdin"')
    history = ctl.json("history", app_id, "room:h")
    assert [event["seq"] for event in history["events"]] == [1, 2]
    assert history["events"][1]["meta"]["user_id"] == "alice"
    lines = ctl.run("history", app_id, "room:h", "--output", "ndjson", "--type", "note").stdout.splitlines()
    assert [json.loads(line)["data"] for line in lines] == ["from stdin"]


def test_a_file_is_published_in_order_at_a_rate_and_a_refused_line_is_named(
    ctl: Ctl, app_id: str, tmp_path: Path
) -> None:
    lines = [json.dumps({"type": "price", "data": {"n": number}}) for number in range(40)]
    (tmp_path / "good.ndjson").write_text("\n".join(lines))
    begin = time.monotonic()
    done = ctl.json("publish", app_id, "room:f", "--file", "good.ndjson", "--rate", "40")
    assert time.monotonic() - begin > 0.8
    assert (done["published"], done["refused"]) == (40, 0)
    events = ctl.json("history", app_id, "room:f", "--limit", "100")["events"]
    assert [event["data"]["n"] for event in events] == list(range(40))

    (tmp_path / "bad.ndjson").write_text(lines[0] + '\n{"type": "no spaces", "data": 1}\n' + lines[1])
    bad = ctl.run("publish", app_id, "room:f", "--file", "bad.ndjson")
    assert bad.returncode == 1
    assert "line 2" in bad.stderr
    assert json.loads(bad.stdout)["published"] == 2
    done = ctl.json("publish", app_id, "--type", "t", stdin='{"channel": "room:g", "data": 1}\n')
    assert done["published"] == 1


def test_presence_channels_and_users_are_seen_and_acted_upon(ctl: Ctl, app_id: str) -> None:
    assert ctl.json("presence", app_id, "room:p")["presence"] == {}
    assert ctl.json("channels", app_id) == {"channels": []}
    assert "not_found" in ctl.refused("user", "signal", app_id, "nobody", "room:p", "--type", "nudge")
    ctl.json("user", "kick", app_id, "nobody", "room:p")
    ctl.json("user", "disconnect", app_id, "nobody")
    ctl.json("user", "revoke", app_id, "nobody", "--yes")


def test_names_from_users_do_not_reach_a_terminal_unescaped(ctl: Ctl, app_id: str) -> None:
    ctl.json("publish", app_id, "room:e", "--type", "t", "--data", json.dumps("\x1b[2J\u202e"))
    table = ctl.run("history", app_id, "room:e", "--output", "table")
    assert table.returncode == 0
    assert "\x1b[2J" not in table.stdout
    assert "\u202e" not in table.stdout


def test_config_says_which_server_and_why(ctl: Ctl, remote_ctl: Ctl, daemon: DaemonProcess) -> None:
    assert ctl.json("config", "show")["server"] == str(daemon.data / "admin.sock")
    remote = remote_ctl.run("config", "show").stdout
    assert daemon.url in remote
    assert daemon.admin_token not in remote


def test_a_wrong_admin_token_is_refused_with_the_remedy(daemon: DaemonProcess, tmp_path: Path) -> None:
    wrong = Ctl(tmp_path, {"POLYGLOT_URL": daemon.url, "POLYGLOT_ADMIN_TOKEN": "pla_" + "0" * 32})
    assert "admin-token" in wrong.refused("tenant", "list")
    assert "unauthorized" in wrong.refused("tail", "chat-app", "room:x")


def _lines(process: "subprocess.Popen[str]", count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_a_tail_resumes_over_the_daemons_kill_without_repeating_or_skipping(
    own_daemon: DaemonProcess, tmp_path: Path
) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(own_daemon.data)})
    first = ctl.json("publish", "chat-app", "room:t", "--type", "t", "--data", "0")
    epoch = ctl.json("history", "chat-app", "room:t")["epoch"]
    tail = ctl.start("tail", "chat-app", "room:t", "--since", f"{epoch}:{first['seq']}", "--count", "8")
    try:
        for number in range(1, 4):
            ctl.json("publish", "chat-app", "room:t", "--type", "t", "--data", str(number))
        assert [event["data"] for event in _lines(tail, 3)] == [1, 2, 3]
        own_daemon.kill()
        own_daemon.start()
        for number in range(4, 9):
            ctl.json("publish", "chat-app", "room:t", "--type", "t", "--data", str(number))
        out, err = tail.communicate(timeout=TAIL_LINES_WITHIN_S)
        assert [json.loads(line)["data"] for line in out.splitlines()] == [4, 5, 6, 7, 8]
        assert "connection lost" in err
        assert "connected again" in err
        assert tail.returncode == 0
    finally:
        tail.kill()
        tail.wait()


def test_an_interrupted_tail_ends_with_130(ctl: Ctl, app_id: str) -> None:
    ctl.json("publish", app_id, "room:i", "--type", "t", "--data", "1")
    epoch = ctl.json("history", app_id, "room:i")["epoch"]
    tail = ctl.start("tail", app_id, "room:i", "--since", f"{epoch}:0")
    assert [event["data"] for event in _lines(tail, 1)] == [1]  # it is connected
    tail.send_signal(signal.SIGINT)
    out, err = tail.communicate(timeout=TAIL_LINES_WITHIN_S)
    assert (tail.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_stats_show_what_an_app_did_and_draw_it(ctl: Ctl, app_id: str, tmp_path: Path) -> None:
    for number in range(3):
        ctl.json("publish", app_id, "room:s", "--type", "m", "--data", str(number))
    deadline = time.monotonic() + 30
    while (found := ctl.json("stats", app_id, "--from", "1h", "--step", "minute"))["total"]["events"] < 3:
        assert time.monotonic() < deadline
    assert found["total"]["events"] == 3
    channel = ctl.json("stats", app_id, "--channel", "room:s", "--plot", "room.png")
    assert (channel["channel"], channel["total"]["bytes"]) == ("room:s", 3)
    assert (tmp_path / "room.png").read_bytes().startswith(b"\x89PNG")
    table = ctl.run("stats", app_id, "--output", "table")
    assert "unique users" in table.stdout
    assert "invalid" in ctl.refused("stats", app_id, "--step", "7m")
    wrong = ctl.run("stats", app_id, "--plot", "room.gif")
    assert (wrong.returncode, wrong.stdout) == (2, "")
