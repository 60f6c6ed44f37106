"""The daemon that suites over real sockets talk to: one for all that leave it alone, or one of a test's own."""

from collections.abc import Iterator

import pytest
from daemon_process import DaemonProcess, daemon_process


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
