"""The processor as a child of `polyglotd serve`: what `python -m polyglotd.processing_child` is.

Started and watched by `processing.ChildProcessor`. Standard input brings the settings, later a position to reach
before the end; where it ends, so does the process. Signals that the whole group gets are the parent's to answer.
"""

import logging
import os
import signal
import sys

import msgspec
import trio

from polyglotd.config import Settings
from polyglotd.host.garbage import collect_rarely
from polyglotd.host.priority import give_way
from polyglotd.host.watched_process import ParentWords
from polyglotd.operator_faults import words_for_operator
from polyglotd.processing import running_processor
from polyglotd.stores import open_stores
from polyglotd.telemetry.logs import open_logs

logger = logging.getLogger("polyglotd.processing_child")  # as a program its name is another

DONE, FAILED = 0, 1
UMASK = 0o027


def main() -> int:
    words = ParentWords()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    settings = msgspec.json.decode(words.first_line, type=Settings)
    os.umask(UMASK)
    with open_logs(settings.telemetry.log_format, settings.telemetry.log_level) as out:
        collect_rarely()
        give_way(settings.processor.nice)
        try:
            trio.run(_run, settings, words)
        except Exception as error:
            lines = words_for_operator(error)
            if lines is None:
                logger.critical("a fault of ours ended the processor", exc_info=error)
            else:
                for line in lines:
                    out.write(f"polyglotd: processor: {line}")
            return FAILED
    return DONE


async def _run(settings: Settings, words: ParentWords) -> None:
    """The parent holds the data directory for both; we have the descriptor of the processor's lock from it."""
    async with (
        open_stores(settings) as stores,
        running_processor(stores, settings) as processor,
    ):
        logger.info("the processor runs in process %d", os.getpid())
        position = int(await words.next_line())
        await processor.caught_up(position)


if __name__ == "__main__":
    sys.exit(main())
