"""Run a scenario of tests/js under node, and do for it what it asks about the daemon."""

import json
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from daemon_process import DaemonProcess

JS = Path(__file__).parents[1] / "js"
SCENARIO_S = 60.0  # the client's own patience is shorter; this ends what hangs
CLIENTS = {"phoenix": "newest", "phoenix-1-5": "1.5"}
_DECLARED = re.compile(r'^(scenario|newestOnly)\("([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Scenario:
    """`client`: the npm package that it runs with."""

    file: str
    name: str
    client: str

    def __str__(self) -> str:
        return f"{self.name} ({CLIENTS[self.client]})"


def scenarios(file: str) -> list[Scenario]:
    """What a file declares, for each client that can do it. The files say it in one literal each."""
    declared = _DECLARED.findall((JS / file).read_text())
    return [
        Scenario(file, name, client)
        for how, name in declared
        for client in CLIENTS
        if how == "scenario" or client == "phoenix"
    ]


def run_scenario(scenario: Scenario, daemon: DaemonProcess) -> None:
    """Raises AssertionError with what the scenario says, if it fails."""
    command = [
        "node", "run.mjs", f"client={scenario.client}", f"url={daemon.url}", f"file={scenario.file}",
        f"scenario={scenario.name}",
    ]  # fmt: skip
    converse(command, daemon)


def converse(command: list[str], daemon: DaemonProcess) -> None:
    """Answer the questions of a script in tests/js until it says how it ended."""
    with subprocess.Popen(
        command, cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(SCENARIO_S, process.kill)
        timer.start()
        try:
            outcome = None
            for line in process.stdout:
                said = json.loads(line)
                if "please" not in said:
                    outcome = said
                    break
                process.stdin.write(json.dumps(_do(said["please"], daemon)) + "\n")
                process.stdin.flush()
        finally:
            timer.cancel()
            process.kill()
        stderr = process.stderr.read() if process.stderr is not None else ""
    assert outcome is not None, f"it ended without a word:\n{stderr[-4000:]}"
    assert outcome == {"passed": True}, f"{outcome.get('failed')}\n{stderr[-4000:]}\n{daemon.stderr[-4000:]}"


def _do(what: str, daemon: DaemonProcess) -> object:
    match what:
        case "kill":
            daemon.kill()
        case "start":
            daemon.start()
        case "stop":
            return daemon.stop()
        case "admin-token":
            return daemon.admin_token
        case _:
            raise AssertionError(f"the script asks for what we can't do: {what}")
    return None
