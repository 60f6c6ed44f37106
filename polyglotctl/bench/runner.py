"""Run a plan in a worker of its own and pass on what it says, as it says it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from polyglotctl.bench.plan import Failed, Message, Plan, Progress, Result
from polyglotctl.failure import CommandFailed, Unreachable, WrongUsage

END_WITHIN_S = 5.0

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class BenchFailed(CommandFailed):
    """The server refused, or did not do what it must, under load."""


def run_plan(plan: Plan, on_progress: Callable[[Progress], None] = lambda _: None) -> list[Result]:
    """The result of every step. Raises a `CommandFailed` where a step failed; the worker is gone in any case."""
    results: list[Result] = []
    with _worker(plan) as process:
        assert process.stdout is not None
        for line in process.stdout:
            message = _decoder.decode(line)
            if isinstance(message, Failed):
                raise _failure(message)
            if isinstance(message, Progress):
                on_progress(message)
            else:
                results.append(message)
        if process.wait(END_WITHIN_S) != 0 or len(results) != len(plan.steps):
            raise BenchFailed(f"the load generator ended with {process.returncode} before it was done.")
    return results


@contextmanager
def _worker(plan: Plan) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "polyglotctl.bench.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(plan))
            process.stdin.close()
            yield process
        finally:
            process.kill()


def _failure(failed: Failed) -> CommandFailed:
    words = failed.words.strip()
    if failed.kind in ("invalid", "no_library"):
        return WrongUsage(f"{words}.")
    if failed.kind == "refused" and "onnection refused" in words:
        return Unreachable(f"{words}. Is the server running there? --url names another.")
    if failed.kind == "system":
        return BenchFailed(f"this machine did not let the load generator work: {words}.")
    hint = ""
    if "rate_limited" in words or "quota_exceeded" in words:
        hint = " A limit of the app: `polyglotctl quota show APP`, or let the bench use an app of its own."
    return BenchFailed(f"{words}.{hint}")
