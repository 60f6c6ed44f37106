"""The chat example and EventSource in a real headless Chromium. The scenarios are in tests/js/chromium.mjs.

Its pictures of the page, at desktop and phone width, light and dark, are in test-results/ for a person to look at.
"""

import pytest
from daemon_process import DaemonProcess
from node import Scenario, run_scenario, scenarios


@pytest.mark.parametrize("scenario", scenarios("chromium.mjs"), ids=str)
def test_in_chromium(scenario: Scenario, own_daemon: DaemonProcess) -> None:
    run_scenario(scenario, own_daemon)
