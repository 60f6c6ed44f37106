"""Events decoded by the library in C++ are those that Python's decoding gives, of any bytes; logs read the same."""

import struct
from pathlib import Path
from typing import Any

import pytest
import test_record as records_test
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st
from native_library import native_log_library

from polyglotd.log.interface import LogCorrupt, LogSettings, Meter
from polyglotd.log.native_events import ReadEvents, native_events
from polyglotd.log.native_log import open_native_segments
from polyglotd.log.record import (
    EVENT,
    FRAME_BYTES,
    BadRecord,
    channel_key,
    check_record,
    decode_record,
    encode_event_record,
    encode_meter,
    encode_tombstone,
)
from polyglotd.log.segment_files import list_segments
from polyglotd.log.segment_reader import SegmentReader
from polyglotd.model import Event

METER = Meter("a", 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def read_events() -> ReadEvents:
    return native_events(native_log_library())


def event(seq: int, **fields: Any) -> Event:
    given_fields = {"id": f"evt_{seq}", "type": "message", "data": b'{"n":1}', "user_id": "ann"} | fields
    return Event(app_id="chat", channel="room:1", epoch="e", seq=seq, ts_us=1_000 + seq, **given_fields)


def record(one: Event) -> bytes:
    return encode_event_record(one, channel_key(one.app_id, one.channel, one.epoch))


def python_events(buffer: bytes, offset: int, limit: int) -> tuple[list[Event], list[int]]:
    """The reference: events up to the first record that is no good one, and the offset after each."""
    found, ends = [], []
    try:
        while len(found) < limit:
            end = check_record(buffer, offset)
            decoded = decode_record(buffer, offset, end)
            if not isinstance(decoded, Event):
                break
            found.append(decoded)
            ends.append(end)
            offset = end
    except BadRecord:
        pass
    return found, ends


def same(read_events: ReadEvents, buffer: bytes, offset: int, limit: int) -> None:
    found, ends = python_events(buffer, offset, limit)
    try:
        run = read_events(buffer, offset, limit, 10_000)
    except UnicodeDecodeError:  # one at a time they are the same up to the one that is not UTF-8
        for one, start, end in zip(found, [offset, *ends], ends, strict=False):
            run = read_events(buffer, start, 1, 0)
            assert run is not None
            assert (run.events, run.ends) == ([one], [end])
        with pytest.raises(UnicodeDecodeError):
            read_events(buffer, ends[-1] if ends else offset, 1, 0)
        return
    assert (run is None) == (not found)
    if run is not None:
        assert run.events == found
        assert run.ends == [10_000 + end for end in ends]


@given(st.lists(records_test.events | records_test.others, max_size=6), st.binary(max_size=20), st.data())
def test_events_are_the_same_as_in_python_whatever_byte_is_damaged(
    read_events: ReadEvents, records: list[object], before: bytes, data: st.DataObject
) -> None:
    buffer = before + b"".join(map(records_test.encoded, records))
    limit = data.draw(st.integers(1, 7))
    same(read_events, buffer, len(before), limit)
    if len(buffer) > len(before):
        at = data.draw(st.integers(len(before), len(buffer) - 1))
        changed = buffer[:at] + bytes([data.draw(st.integers(0, 255))]) + buffer[at + 1 :]
        same(read_events, changed, len(before), limit)
        same(read_events, buffer[:at], len(before), limit)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=4), st.integers(1, 5))
def test_a_body_of_any_bytes_is_read_as_in_python(read_events: ReadEvents, bodies: list[bytes], limit: int) -> None:
    framed = [struct.pack("<II", len(body), crc32c(body)) + body for body in [bytes([EVENT]) + b for b in bodies]]
    same(read_events, b"".join(framed), 0, limit)


@given(records_test.events, st.binary(min_size=3, max_size=3))
def test_texts_of_any_length_are_read_as_in_python(read_events: ReadEvents, one: Event, sizes: bytes) -> None:
    body = bytearray(record(one)[FRAME_BYTES:])
    for at in (2, 21):
        changed = bytes(body[:at] + sizes + body[at + 3 :])
        framed = struct.pack("<II", len(changed), crc32c(changed)) + changed
        same(read_events, framed + record(one), 0, 2)


@pytest.mark.parametrize("keep_user", [False, True])
def test_a_tombstone_is_read_as_in_python(read_events: ReadEvents, keep_user: bool) -> None:
    erased = encode_tombstone(record(event(1, id="own")), 0, keep_user=keep_user)
    same(read_events, erased + record(event(2)), 0, 5)
    run = read_events(erased, 0, 5, 0)
    assert run is not None
    assert run.events == [event(1, id="own", type="erased", data=b"null", user_id=None)]


@pytest.mark.parametrize("buffer", [b"", bytes(8), bytes(100), b"\xff" * 50], ids=["nothing", "8", "zeros", "ones"])
def test_what_is_no_record_is_no_event(read_events: ReadEvents, buffer: bytes) -> None:
    assert read_events(buffer, 0, 5, 0) is None


async def read_all(reader: SegmentReader, limit: int) -> list[object]:
    found: list[object] = []
    while reader.position < reader.end:
        batch = await reader.next_batch(limit)
        assert len(batch.records) == len(batch.ends) <= limit
        found += zip(batch.records, batch.ends, strict=True)
    return found


@pytest.mark.parametrize("limit", [1, 3, 4_000])
async def test_a_log_is_read_the_same_with_and_without_the_library(tmp_path: Path, limit: int) -> None:
    """Meters between events, records larger than what is read at once, several segments."""
    settings = LogSettings(segment_bytes=2 << 20)
    async with open_native_segments(tmp_path, settings, native_log_library()) as log:
        epoch = log.head("chat", "room:1").epoch
        sizes = [10, 10, 700_000, 10, 2_500_000, 10, 10, 1_200_000, 10]
        for seq, size in enumerate(sizes, 1):
            one = event(seq, data=b"1" * size)
            log.append([Event(one.id, "chat", "room:1", epoch, seq, "t", one.data, None, 5)])
            if seq % 2:
                log.append([METER])
        assert len(list_segments(tmp_path)) > 1
        fast, plain = log.reader("fast", 0), log.reader("plain", 0)
        assert plain._read_events is not None
        plain._read_events = None
        found = await read_all(fast, limit)
        assert found == await read_all(plain, limit)
        assert len(found) == 14


@pytest.mark.parametrize("broken", ["a checksum", "a text"])
async def test_damage_is_told_of_the_same_record_with_the_library(tmp_path: Path, broken: str) -> None:
    async with open_native_segments(tmp_path, LogSettings(), native_log_library()) as log:
        epoch = log.head("chat", "room:1").epoch
        for seq in range(1, 6):
            log.append([Event(f"evt_{seq}", "chat", "room:1", epoch, seq, "t", b"1", "ann", 5)])
        path = list_segments(tmp_path)[0].path
        whole = path.read_bytes()
        at = whole.index(b"evt_4")
        start = at - FRAME_BYTES - 24 - len("chatroom:1") - len(epoch)
        if broken == "a checksum":
            changed = bytes([whole[at] ^ 1])
            path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        else:
            end = check_record(whole, start)
            body = whole[start + FRAME_BYTES : end].replace(b"ann", b"a\xff\xfe")
            path.write_bytes(whole[:start] + struct.pack("<II", len(body), crc32c(body)) + body + whole[end:])
        reader = log.reader("test", 0)
        batch = await reader.next_batch(4_000)
        assert [one.seq for one in batch.records if isinstance(one, Event)] == [1, 2, 3]
        with pytest.raises(LogCorrupt) as corrupt:
            await reader.next_batch(4_000)
        assert corrupt.value.offset == start


def test_no_event_is_too_long_for_the_room_that_is_made(read_events: ReadEvents) -> None:
    shortest = Event("", "", "", "", 0, "", b"", None, 0)
    largest = Event("i" * 255, "a" * 255, "c" * 255, "e" * 255, 2**64 - 1, "t" * 255, b"1" * 70_000, "u", 2**64 - 1)
    records = [record(shortest), record(largest), record(event(1))]
    records += [encode_tombstone(one, 0, keep_user=False) for one in records]
    for one in records:
        for count in (1, 50):
            run = read_events(one * count, 0, count, 0)
            assert run is not None
            assert len(run.events) == count


def test_a_meter_ends_a_run(read_events: ReadEvents) -> None:
    buffer = record(event(1)) + encode_meter(METER) + record(event(2))
    run = read_events(buffer, 0, 9, 0)
    assert run is not None
    assert run.events == [event(1)]
    assert read_events(buffer, run.ends[0], 9, 0) is None
