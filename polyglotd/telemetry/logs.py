"""Log lines: one JSON object each, or readable ones on a terminal, on standard error.

Every room logs through the standard `logging`; here its records are rendered with structlog. Opened by `cli` for as
long as the process lives. `extra={"request_id": …}` of a call and ids bound with `structlog.contextvars` become
fields. Nothing here waits for a reader (`line_writer`), and what looks like a secret is cut out (`redaction`).
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from polyglotd.telemetry.line_writer import LineWriter
from polyglotd.telemetry.redaction import redact

Format = Literal["auto", "json", "text"]

FIELD_CHARS_MAX = 8_192  # of a text in a line; tracebacks have more, and are whole
_OURS = "polyglotd"


class _WriterHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(redact(self.format(record)))
        except Exception:
            self.handleError(record)


@contextmanager
def open_logs(log_format: Format, level: str, *, fd: int = 2) -> Iterator[LineWriter]:
    """Send every record of the process to `fd`. The writer takes plain lines too, in order with the records."""
    writer = LineWriter(fd)
    handler = _WriterHandler(writer)
    is_text = log_format == "text" or (log_format == "auto" and os.isatty(fd))
    handler.setFormatter(_formatter(is_text, colors=os.isatty(fd) and not os.environ.get("NO_COLOR")))
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries' chatter is not for operators
    logging.getLogger(_OURS).setLevel(level.upper())
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # no traceback of logging's own on standard error
    try:
        yield writer
    finally:
        logging.captureWarnings(False)
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.getLogger(_OURS).setLevel(logging.NOTSET)
        writer.close()


def _formatter(is_text: bool, *, colors: bool) -> logging.Formatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _plain_values,
    ]
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_text:
        # The plain traceback: rich's shows the values of variables, and a token may be among them.
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
        rendering += [renderer]
    else:
        rendering += [structlog.processors.format_exc_info, _ordered, structlog.processors.JSONRenderer(json.dumps)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering)


def _plain_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Texts in bounds and on one line, everything else as it prints."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _one_line(value)
        elif key not in ("exc_info", "_record", "_from_structlog") and not isinstance(value, int | float | None):
            event[key] = _one_line(repr(value))
    return event


def _one_line(text: str) -> str:
    if len(text) > FIELD_CHARS_MAX:
        text = text[:FIELD_CHARS_MAX] + "…"
    if text.isprintable():
        return text
    # Names come from strangers: one with a line end must not forge a line, nor one with an escape a colour.
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _ordered(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = {key: event.pop(key) for key in ("ts", "level", "logger", "event") if key in event}
    return {**first, **event}
