"""A PostgreSQL of a test's own, to be stopped, killed and filled up, and a proxy in front of it that can stall."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from store_servers import FORGETFUL, POSTGRES, Unprivileged, install_of, start_arguments, wait_for


class OwnPostgres:
    """Of the newest version. Its data outlives `stop` and `start`."""

    def __init__(self, directory: Path, options: Sequence[str] = FORGETFUL) -> None:
        self._options = options
        self.directory = directory
        self.url = f"postgresql://postgres@/postgres?host={directory}"
        self._run = Unprivileged(install_of(POSTGRES[-1]), directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._run.check(
            [
                *self._run.tool("initdb"), "-D", str(directory / "data"), "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale=C", "--no-sync",
            ]
        )  # fmt: skip

    def start(self) -> None:
        self._process = self._run.popen(
            [*self._run.tool("postgres"), *start_arguments(self.directory, self._options)]
        )
        wait_for(self.url, self._process)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: connections are ended, then it is. SIGQUIT: as a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(sign)
            self._process.wait(30)


@contextmanager
def own_postgres(options: Sequence[str] = FORGETFUL) -> Iterator[OwnPostgres]:
    """A started one, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="plg-own-"))
    directory.chmod(0o755)
    server = OwnPostgres(directory, options)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(directory.parent / f"{directory.name}-install", ignore_errors=True)


class Proxy:
    """Between a client and a server's socket. Stalled, it takes connections and bytes and passes nothing on."""

    def __init__(self, server: Path, own: Path) -> None:
        self._server = server
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(own))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """End every connection."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.flow()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                client.close()
                continue
            self._ends += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_to(url: str) -> "Iterator[tuple[Proxy, str]]":
    """A proxy and the URL that goes through it, for a server on a Unix socket."""
    server = Path(url.partition("host=")[2])
    own = Path(tempfile.mkdtemp(prefix="plg-proxy-"))
    proxy = Proxy(server / ".s.PGSQL.5432", own / ".s.PGSQL.5432")
    try:
        yield proxy, url.replace(str(server), str(own))
    finally:
        proxy.close()
        shutil.rmtree(own, ignore_errors=True)


@contextmanager
def small_disk(server: Path, kib: int) -> Iterator[Path]:
    """A file system of this size, of the server's user. Raises OSError where it can't be mounted."""
    where = Path(tempfile.mkdtemp(prefix="plg-disk-"))
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0777", "tmpfs", str(where)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if os.geteuid() != 0 or mounted.returncode != 0:
            raise OSError(f"only root can mount a small disk: {mounted.stderr.strip()}")
        os.chown(where, server.stat().st_uid, server.stat().st_gid)
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=False, capture_output=True)
        where.rmdir()
