"""How a command fails: one class per exit code. `main` prints the message and exits; nobody else does."""

from collections.abc import Mapping
from typing import ClassVar


class CommandFailed(Exception):
    """The message says what happened, why, and what to do next."""

    exit_code: ClassVar[int] = 1


class RefusedByServer(CommandFailed):
    """The server answered, and the answer was no."""

    def __init__(self, status: int, problem: Mapping[str, object]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code", status))
        detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        super().__init__(f"{self.code}: {detail}{_NEXT_STEP.get(self.code, '')}")


class WrongUsage(CommandFailed):
    """The command line (or what it names: a file, a value) is not right."""

    exit_code = 2


class Unreachable(CommandFailed):
    """No answer from the server."""

    exit_code = 3


_NEXT_STEP = {
    "unauthorized": " Set POLYGLOT_DATA to the daemon's data directory, or POLYGLOT_ADMIN_TOKEN to a token from"
    " `polyglotd admin-token`.",
}
