"""The examples of docs/analytics.md, as they stand there, against a daemon in development mode."""

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import msgspec
import pytest
from daemon_process import DaemonProcess

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text(encoding="utf-8")
CURLS = re.findall(r"^curl .*$", PAGE, re.MULTILINE)
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("command", CURLS)
def test_a_documented_call_answers_as_it_is_described(daemon: DaemonProcess, command: str) -> None:
    command = command.replace("http://localhost:4000", daemon.url)
    done = subprocess.run(["bash", "-c", command.replace("curl ", "curl -fsS ")], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    answer = msgspec.json.decode(done.stdout)
    assert {"app_id", "from", "to", "step", "counted_until", "total", "series"} <= answer.keys()
    for name in answer["total"]:
        assert f"`{name}`" in PAGE


def test_the_documented_query_of_sqlite_finds_what_was_published(own_daemon: DaemonProcess) -> None:
    url = own_daemon.url + "/apps/chat-app/channels/room:docs/publish"
    key = {"X-API-Key": "valid_key_chat-app"}
    assert httpx.post(url, json={"type": "m", "data": 1}, headers=key).status_code == 200
    own_daemon.stop()  # a drain brings everything to the rollups
    with closing(sqlite3.connect(own_daemon.data / "rollups.db")) as rollups:
        rows = rollups.execute(QUERIES[0]).fetchall()
    assert sum(events for _, events, *_ in rows) == 1
