"""That a run of the tests for one plane is about that plane."""

import httpx
from daemon_process import DaemonProcess, serving_plane


def test_the_plane_that_the_tests_are_about_serves(daemon: DaemonProcess) -> None:
    operator = {"Authorization": f"Bearer {daemon.admin_token}"}
    assert httpx.get(f"{daemon.url}/health", headers=operator).json()["plane"] == serving_plane()
