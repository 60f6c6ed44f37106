"""The daemon that suites over real sockets talk to: one for all that leave it alone, or one of a test's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess, daemon_process

# Those that say most about a plane: .ci/test runs them on the other one as well, and with long counts all of them.
TELLING = {
    "test_bad_frames",
    "test_drain_wire",
    "test_history_seams",
    "test_kill_9",
    "test_phoenix_js",
    "test_plane_under_test",
    "test_revocation_wire",
    "test_sse_client",
    "test_two_apps",
    "test_wire_transcripts",
}
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and (item.path.stem in TELLING or os.environ.get("POLYGLOT_TEST_FULL") == "1"):
            item.add_marker("both_planes")


@pytest.fixture(scope="session")
def daemon() -> Iterator[DaemonProcess]:
    """Shared, in development mode: use channels and users of your own, and leave it running."""
    with daemon_process() as daemon:
        yield daemon


@pytest.fixture
def own_daemon() -> Iterator[DaemonProcess]:
    """To be killed, stopped and started as a test likes; it drains quickly."""
    with daemon_process(env={"POLYGLOTD_DRAIN__SECONDS": "1"}) as daemon:
        yield daemon
