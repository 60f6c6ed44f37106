"""`python -m polyglotctl.bench.worker`: a plan on standard input, messages on standard output, a line each.

Started by `runner`. Ends when the plan is done or a step failed, and soon after whoever reads its output has gone.
"""

import os
import signal
import sys
import threading

import msgspec

from polyglotctl.bench.library import LoadFailed, LoadGenerator
from polyglotctl.bench.plan import Connect, Failed, Memory, Message, Plan, Publish, Result, Step
from polyglotctl.bench.processes import memory_of

PROGRESS_EVERY_S = 0.1


def main() -> int:
    """Exit code 0 where the whole plan ran."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: whoever started us decides
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    try:
        with LoadGenerator(plan.target) as generator:
            for number, step in enumerate(plan.steps):
                _say(_run(generator, number, step, plan.target.processes))
    except LoadFailed as failure:
        _say(Failed(failure.kind, str(failure)))
        return 1
    return 0


def _run(generator: LoadGenerator, number: int, step: Step, processes: "tuple[int, ...]") -> Result:
    before = _memory(processes)
    done = threading.Event()
    telling = threading.Thread(target=_tell, args=(generator, number, done), daemon=True)
    telling.start()
    try:
        if isinstance(step, Connect):
            result: Result = generator.connect(step)
        elif isinstance(step, Publish):
            result = generator.publish(step)
        else:
            result = generator.idle(step)
    finally:
        done.set()
        telling.join()
    return msgspec.structs.replace(result, memory_before=before, memory_after=_memory(processes))


def _tell(generator: LoadGenerator, number: int, done: threading.Event) -> None:
    while not done.wait(PROGRESS_EVERY_S):
        try:
            _say(generator.progress(number))
        except BrokenPipeError:
            generator.stop()
            return


def _say(message: Message) -> None:
    os.write(sys.stdout.fileno(), msgspec.json.encode(message) + b"\n")


def _memory(processes: "tuple[int, ...]") -> "list[Memory]":
    return [memory_of(process) for process in processes]


if __name__ == "__main__":
    sys.exit(main())
