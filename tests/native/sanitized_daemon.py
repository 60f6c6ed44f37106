"""That .ci/sanitized, which alone runs this, tests what it says: without a driver nothing would fail either."""

import os
from pathlib import Path

import httpx
from daemon_process import daemon_process

from polyglotd.plane.native.library import load_library

LIBRARY = Path(os.environ.get("POLYGLOT_NATIVE_LIBRARY", ""))
KIND = LIBRARY.parent.name


def test_this_process_loads_the_driver_with_its_sanitizer() -> None:
    assert f"sanitize={KIND} " in load_library().build


def test_a_daemon_serves_with_the_driver_and_its_sanitizer() -> None:
    with daemon_process() as daemon:
        assert httpx.get(f"{daemon.url}/health").is_success
        assert str(LIBRARY) in Path(f"/proc/{daemon.pid}/maps").read_text()
