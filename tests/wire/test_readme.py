"""What the README says to type, typed."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
from daemon_process import DaemonProcess

ROOT = Path(__file__).parents[2]
JS = ROOT / "tests/js"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCKS = _BLOCK.findall((ROOT / "README.md").read_text())
TAIL_S = 3
SCRIPT_S = 20.0


def _blocks(language: str, having: str) -> list[str]:
    found = [text for kind, text in _BLOCKS if kind == language and having in text]
    assert found, f"the README has no {language} with {having}"
    return found


def _here(text: str, daemon: DaemonProcess) -> str:
    return text.replace("localhost:4000", f"localhost:{daemon.port}")


@pytest.fixture(scope="module")
def environment(daemon: DaemonProcess) -> dict[str, str]:
    return {**os.environ, "POLYGLOT_DATA": str(daemon.data)}


@pytest.mark.parametrize("block", _blocks("bash", "curl "))
def test_each_curl_call_answers_json(block: str, daemon: DaemonProcess) -> None:
    answers = []
    for line in _here(block, daemon).splitlines():
        if line.startswith("curl "):
            done = subprocess.run(
                ["bash", "-c", line + " --fail-with-body -sS"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            answers.append(json.loads(done.stdout))
    published, history = answers
    assert history["events"][-1]["id"] == published["id"]


@pytest.mark.parametrize("block", _blocks("js", 'from "phoenix"'))
def test_each_javascript_example_says_what_it_should(block: str, daemon: DaemonProcess) -> None:
    # A browser has a WebSocket; in node 20 it comes from a package.
    script = 'import WebSocket from "ws";\n' + _here(block, daemon).replace(
        "const socket", "globalThis.WebSocket ??= WebSocket;\nconst socket", 1
    )
    wanted = [r"joined, \d+ earlier events", r"\d+ alice message \{ text: 'Hello' \}"]
    with subprocess.Popen(
        ["node", "--input-type=module", "-e", script], cwd=JS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        timer = threading.Timer(SCRIPT_S, process.kill)
        timer.start()
        assert process.stdout is not None
        said = []
        for line in process.stdout:  # it goes on until it is ended
            said.append(line.rstrip("\n"))
            wanted = [pattern for pattern in wanted if not re.fullmatch(pattern, said[-1])]
            if not wanted:
                break
        timer.cancel()
        process.kill()
    assert not wanted, said


@pytest.mark.parametrize("block", _blocks("bash", "polyglotctl tail"))
def test_each_command_of_the_operator_works(block: str, daemon: DaemonProcess, environment: dict[str, str]) -> None:
    # A tail never ends by itself: it must still be running when `timeout` ends it.
    instead = rf"timeout {TAIL_S} \g<0> || [ $? = 124 ] "
    text = re.sub(r"^polyglotctl tail .*?(?=#|$)", instead, block, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"Hello"' in done.stdout
