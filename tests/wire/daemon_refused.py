"""A `polyglotd` command run to its end, for what is refused or quickly done."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon_process import COMMAND, ROOT

ENDS_WITHIN_S = 60.0


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """Standard error without the log's own lines, which a pipe gets as JSON."""
        return "\n".join(line for line in self.stderr.splitlines() if not line.startswith("{"))


def polyglotd(*arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Ended:
    """Raises where it does not end by itself, or shows a traceback."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=ENDS_WITHIN_S, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)
