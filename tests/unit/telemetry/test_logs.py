"""Log lines: what is in them, what is not, and that nobody waits for whoever reads them."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog

from polyglotd.telemetry.line_writer import LineWriter
from polyglotd.telemetry.logs import open_logs
from polyglotd.telemetry.redaction import redact

logger = logging.getLogger("polyglotd.test")


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def content(self) -> str:
        """What was written so far; at least one line."""
        return os.read(self.read_fd, 1 << 20).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for fd in (pipe.read_fd, pipe.write_fd):
        os.close(fd)


def logged(pipe: Pipe, log_format: str = "json", level: str = "info") -> list[str]:
    with open_logs(log_format, level, fd=pipe.write_fd):  # type: ignore[arg-type]
        logger.debug("too quiet")
        logger.info("%s came", "a\nb\x1b[31m", extra={"request_id": "r1", "ms": 1.5, "obj": [1]})
        with structlog.contextvars.bound_contextvars(app_id="shop"):
            logger.warning("careful")
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            logger.exception("broke")
        logging.getLogger("library").info("chatter")
        logging.getLogger("library").error("a library's fault")
    return pipe.content().splitlines()


def test_a_record_is_one_json_object_with_its_ids(pipe: Pipe) -> None:
    lines = [json.loads(line) for line in logged(pipe)]
    came, careful, broke, library = lines
    assert list(came)[:4] == ["ts", "level", "logger", "event"]
    assert came["event"] == "a\\nb\\x1b[31m came"
    assert (came["level"], came["logger"]) == ("info", "polyglotd.test")
    assert (came["request_id"], came["ms"], came["obj"]) == ("r1", 1.5, "[1]")
    assert (careful["event"], careful["app_id"]) == ("careful", "shop")
    assert "RuntimeError: boom" in broke["exception"]
    assert (library["logger"], library["event"]) == ("library", "a library's fault")


def test_on_a_terminal_a_record_is_a_line_for_people(pipe: Pipe) -> None:
    lines = logged(pipe, "text")
    assert lines[0].endswith("Z [info     ] a\\nb\\x1b[31m came [polyglotd.test] ms=1.5 obj=[1] request_id=r1")
    assert "careful" in lines[1]
    assert "RuntimeError: boom" in lines
    assert not any("\x1b" in line for line in lines)


def test_auto_is_json_where_nobody_looks(pipe: Pipe) -> None:
    assert json.loads(logged(pipe, "auto")[0])["level"] == "info"


def test_the_level_holds_for_our_own_rooms(pipe: Pipe) -> None:
    assert json.loads(logged(pipe, "json", "debug")[0])["event"] == "too quiet"


def test_logging_is_as_before_when_the_logs_are_closed(pipe: Pipe) -> None:
    before = logging.getLogger().handlers[:]
    logged(pipe)
    assert logging.getLogger().handlers == before


SECRETS = {
    "an API key": "key plk_abcdefghij0123456789abcdefghij01 is wrong",
    "an admin token": "pla_abcdefghij0123456789abcdefghij01",
    "a signing secret": "pls_abcdefghij0123456789abcdefghij01",
    "a token": "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl was refused",
    "a query": "GET /socket/websocket?vsn=2.0.0&token=valid_token_alice&x=1",
    "a header": "Authorization: Bearer valid_key_chat-app",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_what_looks_like_a_secret_is_cut_out(text: str) -> None:
    redacted = redact(text)
    assert "[redacted]" in redacted
    for secret in ("abcdefghij", "eyJhbGci", "eyJzdWIi", "c2lnbmF0", "valid_token_alice", "valid_key"):
        assert secret not in redacted


@pytest.mark.parametrize("text", ["channel room:lobby", "key key_abcdefghijkl revoked", "GET /apps/shop/usage 200"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_reader_that_stopped_holds_nobody_up_and_is_told_what_it_missed(pipe: Pipe) -> None:
    writer = LineWriter(pipe.write_fd, lines_max=100)
    for number in range(3_000):  # some 3 MB, of which the pipe takes 64 KiB
        writer.write(f"{number} {'x' * 1000}")
    assert writer.dropped_total >= 2_000
    seen = bytearray()
    os.set_blocking(pipe.read_fd, False)
    while not writer.flush(0.01):
        with suppress(BlockingIOError):
            seen += os.read(pipe.read_fd, 1 << 20)
    with suppress(BlockingIOError):
        seen += os.read(pipe.read_fd, 1 << 20)
    assert b"log lines were dropped" in seen
    writer.close()


def test_a_reader_that_is_gone_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    writer = LineWriter(write_fd)
    writer.write("to nobody")
    assert writer.flush()
    writer.close()
    os.close(write_fd)
