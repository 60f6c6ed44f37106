"""What keeps a daemon from starting: a clear message with a remedy, an exit code, and no traceback."""

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from daemon_process import TEST_PLANE, DaemonProcess, daemon_process
from daemon_refused import Ended, polyglotd

CANNOT_START = 1
WRONG_SETTINGS = 2


def serve(data: Path, *arguments: str, dev: bool = True) -> Ended:
    return polyglotd("serve", *(["--dev"] if dev else []), "--port", "0", "--data", data, *arguments)


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pytest's own are nearly too long for a socket."""
    path = Path(tempfile.mkdtemp(prefix="polyglot-"))
    yield path
    shutil.rmtree(path)


def test_a_port_in_use_is_named(short_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = polyglotd("serve", "--dev", "--port", str(port), "--data", short_path)
    assert ended.code == CANNOT_START
    assert ended.complaint == (
        f"polyglotd: can't listen on 127.0.0.1 port {port}: another process listens there; stop it, or choose another"
        " port with --port (0: any)"
    )


def test_a_host_that_is_not_there_is_named(short_path: Path) -> None:
    ended = serve(short_path, "--host", "192.0.2.1", dev=False)
    assert (ended.code, ended.complaint) == (
        CANNOT_START,
        "polyglotd: can't listen on 192.0.2.1 port 0: this machine has no such address; see [listen] host, or --host",
    )
    ended = serve(short_path, "--host", "no-such-host.invalid", dev=False)
    assert ended.code == CANNOT_START
    assert "can't listen on no-such-host.invalid: no such host" in ended.complaint


def test_a_data_directory_that_can_not_be_written_is_named(short_path: Path) -> None:
    closed = short_path / "closed"
    closed.mkdir(mode=0o500)
    data = Path("/proc/polyglot") if os.geteuid() == 0 else closed  # root may write wherever a file can be
    ended = serve(data)
    assert ended.code == CANNOT_START
    assert ended.complaint.startswith(f"polyglotd: the data directory {data} can't be ")
    assert ended.complaint.endswith("; make it writable, or choose another with --data")


def test_a_data_directory_that_is_a_file_is_named(short_path: Path) -> None:
    file = short_path / "file"
    file.touch()
    assert serve(file).complaint == f"polyglotd: {file} is no directory; choose another with --data"
    assert serve(file / "below").code == CANNOT_START


def test_a_data_directory_in_use_by_a_daemon_of_the_same_role_is_refused(own_daemon: DaemonProcess) -> None:
    ended = serve(own_daemon.data, "--role", "gateway")
    assert (ended.code, ended.complaint) == (
        CANNOT_START,
        f"polyglotd: {own_daemon.data} is in use by another gateway, process {own_daemon.pid}; stop that one, or"
        " choose another directory with --data",
    )
    assert "in use by another processor" in serve(own_daemon.data, "--role", "processor", dev=False).complaint
    ended = polyglotd("migrate", "--data", own_daemon.data)
    assert (ended.code, ended.stdout) == (CANNOT_START, "")
    assert "in use by another gateway" in ended.complaint
    own_daemon.kill()
    assert polyglotd("migrate", "--data", own_daemon.data).code == 0  # the kernel dropped the lock


def test_a_path_too_long_for_a_socket_is_named(short_path: Path) -> None:
    data = short_path / ("d" * 100)
    ended = serve(data)
    assert ended.code == CANNOT_START
    assert "the admin socket's path has" in ended.complaint
    assert "Choose a shorter data directory (--data)" in ended.complaint


@pytest.mark.parametrize("name", ["registry.db", "events.db"])
def test_a_damaged_database_is_named(short_path: Path, name: str) -> None:
    (short_path / name).write_bytes(b"no database at all\n" * 500)
    ended = serve(short_path)
    assert ended.code == CANNOT_START
    assert f"{short_path / name} is damaged" in ended.complaint


def test_a_database_of_a_newer_release_is_named(short_path: Path) -> None:
    assert polyglotd("migrate", "--data", short_path).code == 0
    database = sqlite3.connect(short_path / "registry.db")
    database.execute("PRAGMA user_version = 1000")
    database.close()
    ended = serve(short_path)
    assert ended.code == CANNOT_START
    assert f"{short_path / 'registry.db'} has schema 1000" in ended.complaint


def test_a_damaged_log_is_named_and_left_as_it_is(short_path: Path) -> None:
    with_log = short_path / "log"
    with_log.mkdir()
    segment = with_log / f"{0:020}.seg"
    segment.write_bytes(b"\xff" * 4096)
    ended = serve(short_path)
    assert ended.code == CANNOT_START
    assert str(segment.name) in ended.complaint or str(with_log) in ended.complaint
    assert segment.read_bytes() == b"\xff" * 4096


def test_wrong_settings_are_told_all_at_once(short_path: Path) -> None:
    config = short_path / "polyglot.toml"
    config.write_text('[listen]\nport = 70000\n\n[redis]\nurl = "redis://:secret@db"\n')
    ended = polyglotd("serve", "--config", config, "--data", short_path, env={"POLYGLOTD_LOG__SYNC": "sometimes"})
    assert ended.code == WRONG_SETTINGS
    assert ended.stderr == (
        "polyglotd: 3 settings are wrong\n"
        f"  {config}:2: [listen] port is 70000; right is a whole number from 0 to 65535\n"
        f"  {config}:5: [redis] url can't be set: this release has no cluster: it runs as one node, on its own log"
        " and store\n"
        '  POLYGLOTD_LOG__SYNC: [log] sync is "sometimes"; right is one of always, interval, os\n'
    )


def test_development_mode_is_refused_beyond_loopback(short_path: Path) -> None:
    ended = serve(short_path, "--host", "0.0.0.0")
    assert (ended.code, ended.stderr) == (
        WRONG_SETTINGS,
        'polyglotd: a setting is wrong\n  --host: development mode listens on this machine alone, not on "0.0.0.0";'
        " use 127.0.0.1, or leave out --dev\n",
    )


def test_a_driver_that_was_asked_for_and_is_not_there_is_refused(short_path: Path) -> None:
    arguments = ("serve", "--dev", "--port", "0", "--data", short_path, "--plane", "native")
    ended = polyglotd(*arguments, env={"POLYGLOT_NATIVE_LIBRARY": str(short_path / "nothing.so")})
    assert (ended.code, ended.complaint) == (
        CANNOT_START,
        "polyglotd: --plane native: the driver is not built: a C++ compiler was missing when polyglotd was installed",
    )
    (short_path / "text.so").write_text("no library")
    ended = polyglotd(*arguments, env={"POLYGLOT_NATIVE_LIBRARY": str(short_path / "text.so")})
    assert ended.code == CANNOT_START
    assert ended.complaint.startswith("polyglotd: --plane native: the driver can't be loaded: ")


@pytest.mark.skipif(TEST_PLANE == "native", reason="the driver is asked for, so there is no choice")
def test_without_a_driver_the_plane_in_python_serves_and_health_says_why(short_path: Path) -> None:
    with daemon_process(env={"POLYGLOT_NATIVE_LIBRARY": str(short_path / "nothing.so")}) as daemon:
        operator = {"Authorization": f"Bearer {daemon.admin_token}"}
        health = httpx.get(f"{daemon.url}/health", headers=operator).json()
    why = "it was asked for" if TEST_PLANE else "the driver is not built: a C++ compiler was missing when polyglotd"
    assert health["plane"] == "asgi"
    assert health["plane_why"].startswith(why)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--role", "both"], "--role"),
        (["--prot", "1"], "--prot"),
        (["--port", "http"], '--port: [listen] port is "http"'),
    ],
)
def test_wrong_usage_has_exit_code_2(short_path: Path, arguments: list[str], words: str) -> None:
    ended = serve(short_path, *arguments)
    assert ended.code == WRONG_SETTINGS
    assert words in ended.stderr
