"""Exit codes and help of the real program, without a server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = [
    *(f"tenant {verb}" for verb in ["create", "list", "show", "set", "suspend", "resume", "delete"]),
    *(f"key {verb}" for verb in ["create", "list", "rotate", "revoke"]),
    *(f"secret {verb}" for verb in ["create", "list", "import", "revoke"]),
    *(f"token {verb}" for verb in ["issue", "inspect", "revoke"]),
    *(f"quota {verb}" for verb in ["show", "set"]),
    *(f"kind {verb}" for verb in ["list", "show", "set"]),
    *(f"user {verb}" for verb in ["signal", "kick", "disconnect", "revoke"]),
    "config show",
    *["publish", "tail", "history", "presence", "channels", "stats", "replay", "export", "import"],
]


def polyglotctl(
    *args: str, stdin: str | None = None, cwd: Path, **environ: str
) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYGLOT_")}
    return subprocess.run(
        [sys.executable, "-m", "polyglotctl.main", *args],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environ,
    )


@pytest.fixture(scope="module")
def nowhere() -> dict[str, str]:
    """A server that is not there: port 1 of loopback."""
    return {"POLYGLOT_URL": "http://127.0.0.1:1"}


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    script = (
        "import contextlib, io, sys\n"
        "from polyglotctl.main import run\n"
        "for command in sys.stdin.read().splitlines():\n"
        "    shown = io.StringIO()\n"
        "    with contextlib.redirect_stdout(shown):\n"
        "        code = run([*command.split(), '--help'])\n"
        "    assert code == 0, command\n"
        "    assert 'Example: ' in shown.getvalue(), command\n"
        "    assert f\"polyglotctl {command} \" in shown.getvalue().replace('\\n', ' '), command\n"
        "print('all')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join(COMMANDS),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout == "all\n", done.stderr


def test_a_server_that_is_not_there_is_exit_code_3_and_the_remedy_is_named(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    done = polyglotctl("tenant", "list", cwd=tmp_path, **nowhere)
    assert (done.returncode, done.stdout) == (3, "")
    assert "polyglotd serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tail_of_a_server_that_is_not_there_is_exit_code_3(tmp_path: Path, nowhere: dict[str, str]) -> None:
    done = polyglotctl("tail", "chat-app", "room:lobby", cwd=tmp_path, **nowhere)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["tenant", "show"],
        ["tenant", "nosuch"],
        ["quota", "set", "chat-app"],
        ["quota", "set", "chat-app", "--connections", "many"],
        ["token", "issue", "chat-app", "alice", "--ttl", "soon"],
        ["token", "issue", "chat-app", "alice", "--channel", "room:*"],
        ["publish", "chat-app", "room:lobby", "--type", "t", "--data", "{"],
        ["publish", "chat-app", "room:lobby", "--type", "t", "--data", "1", "--file", "x"],
        ["publish", "chat-app", "--file", "/nowhere.ndjson"],
        ["tenant", "delete", "chat-app"],
        ["history", "chat-app", "room:lobby", "--limit", "0"],
        ["kind", "set", "chat-app", "room"],
        ["tenant", "list", "--output", "xml"],
    ],
    ids=lambda args: " ".join(args),
)
def test_wrong_usage_is_exit_code_2_without_a_word_on_standard_output(
    args: list[str], tmp_path: Path, nowhere: dict[str, str]
) -> None:
    done = polyglotctl(*args, cwd=tmp_path, **nowhere)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_polyglot_app_stands_in_for_the_app_that_was_left_out(tmp_path: Path, nowhere: dict[str, str]) -> None:
    done = polyglotctl("history", "room:lobby", cwd=tmp_path, POLYGLOT_APP="chat-app", **nowhere)
    assert done.returncode == 3, done.stderr


def test_a_line_that_is_no_event_is_wrong_usage_that_names_the_line(tmp_path: Path, nowhere: dict[str, str]) -> None:
    done = polyglotctl("publish", "chat-app", "room:a", "--type", "t", cwd=tmp_path, stdin="{nope\n", **nowhere)
    assert done.returncode == 2
    assert "line 1" in done.stderr
