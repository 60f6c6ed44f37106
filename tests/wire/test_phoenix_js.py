"""The official `phoenix` client from npm, newest and 1.5, under node, against the real daemon.

The scenarios are in tests/js; this file says which of them get a daemon of their own.
"""

import re

import pytest
from daemon_process import DaemonProcess
from node import JS, Scenario, run_scenario, scenarios

_ENDS_THE_DAEMON = ("kill", "drain", "went with its server")


def _ends_the_daemon(scenario: Scenario) -> bool:
    return any(words in scenario.name for words in _ENDS_THE_DAEMON)


FILES = ("channel.mjs", "presence.mjs", "resume.mjs", "longpoll.mjs")
ALL = [scenario for file in FILES for scenario in scenarios(file)]


@pytest.mark.parametrize("scenario", [one for one in ALL if not _ends_the_daemon(one)], ids=str)
def test_on_a_running_daemon(scenario: Scenario, daemon: DaemonProcess) -> None:
    run_scenario(scenario, daemon)


@pytest.mark.parametrize("scenario", [one for one in ALL if _ends_the_daemon(one)], ids=str)
def test_when_the_daemon_goes_away(scenario: Scenario, own_daemon: DaemonProcess) -> None:
    run_scenario(scenario, own_daemon)


@pytest.mark.parametrize("file", [*FILES, "chromium.mjs"])
def test_every_scenario_of_a_file_is_found(file: str) -> None:
    text = (JS / file).read_text()
    calls = len(re.findall(r"\b(?:scenario|newestOnly)\(", text))
    assert len({scenario.name for scenario in scenarios(file)}) == calls
