"""Play a segment's records over the channel table: checksums, heads, positions. The loop that start-up time hangs on.

Called by `opening` in a worker thread. An event is not decoded: its fixed part says what the table needs, and the
bytes of app, channel and epoch are looked up as they stand.
"""

import re

from google_crc32c import value as crc32c

from polyglotd.log import runs
from polyglotd.log.channel_table import ChannelState, ChannelTable
from polyglotd.log.interface import AppForgotten, EpochBegun, Erasure
from polyglotd.log.record import (
    BODY_BYTES_MAX,
    EVENT,
    EVENT_HEAD,
    EVENT_HEAD_BYTES,
    FRAME,
    FRAME_BYTES,
    ID_GIVEN,
    KEY_OFFSET,
    WAS_ERASED,
    BadRecord,
    check_record,
    decode_record,
    split_key,
)
from polyglotd.log.runs import Runs
from polyglotd.log.segment_files import Segment

_OTHER_BODY_MAX = 4096  # records that are no events are names and counts
_EVENT_BODY_MIN = EVENT_HEAD_BYTES - FRAME_BYTES
_UNSEEN = ChannelState("", "", "", 0, 0)
# Where a record may begin: a length from 1 to 16 MiB (little-endian, not 0), any checksum, a type of ours.
_CANDIDATE = re.compile(rb"(?=(?:[^\x00]..|.[^\x00].|..[^\x00])\x00....[\x00-\x07])", re.DOTALL)


class Replay:
    """Over the segments of one log, in order."""

    def __init__(self, table: ChannelTable, *, heads_from: int, tail_from: int, ids_since_us: int) -> None:
        """`heads_from`: what stands before is in the table's heads already. `tail_from`: the store has every event
        before it. `ids_since_us`: older ids are of no interest."""
        self._table = table
        self._heads_from = heads_from
        self._tail_from = tail_from
        self._ids_since_us = ids_since_us
        self._by_key: dict[bytes, ChannelState | None] = {}
        self._with_tail: set[ChannelState] = set()
        self.records = 0

    def segment(self, segment: Segment, buffer: bytes, offset: int) -> tuple[int, BadRecord | None]:
        """Play the records of `buffer` from `offset` on; the offset after the last good one, and what stopped it
        before the buffer's end."""
        known = min(self._heads_from - segment.first, len(buffer))
        fault = None
        if offset < known:
            offset, fault = self._play(segment, buffer, offset, known, moves_heads=False)
            self._by_key.clear()
        if fault is None:
            offset, fault = self._play(segment, buffer, offset, len(buffer), moves_heads=True)
        return offset, fault

    def renew(self, first: int, epoch: str) -> None:
        """The segment at `first` leaves every channel's past behind."""
        if first >= self._heads_from:
            self._table.clear()
            self._table.renew(epoch)
            self._by_key.clear()
            self._with_tail.clear()

    def done(self, end: int) -> None:
        """No more segments: the log ends at `end`."""
        self._table.replayed(self._with_tail, end)

    def _play(
        self, segment: Segment, buffer: bytes, offset: int, stop: int, *, moves_heads: bool
    ) -> tuple[int, BadRecord | None]:
        # All of this is in local names and in one loop: it runs a million times within a second or two.
        size = len(buffer)
        unpack = EVENT_HEAD.unpack_from
        by_key = self._by_key
        table = self._table
        first = segment.first
        tail_offset = self._tail_from - first
        joined = runs.JOINED_BYTES
        records = 0
        fault: BadRecord | None = None
        try:
            while offset < stop:
                if offset + EVENT_HEAD_BYTES <= size:
                    length, crc, kind, flags, _, _, _, seq, ts_us, app, channel, epoch = unpack(buffer, offset)
                    end = offset + FRAME_BYTES + length
                    if (
                        kind == EVENT
                        and length >= _EVENT_BODY_MIN
                        and end <= size
                        and crc32c(buffer[offset + FRAME_BYTES : end]) == crc
                    ):
                        key = buffer[offset + KEY_OFFSET : offset + EVENT_HEAD_BYTES + app + channel + epoch]
                        state = by_key.get(key, _UNSEEN)
                        if state is _UNSEEN or (moves_heads and state is not None and state.key != key):
                            state = self._state(key, moves_heads=moves_heads)
                        if state is not None:
                            if offset >= tail_offset:
                                tail = state.tail
                                if tail is None or seq == 1:
                                    state.tail = Runs(seq, first + offset, first + end)
                                    self._with_tail.add(state)
                                elif first + offset - tail.newest < joined:
                                    tail.end = first + end
                                else:
                                    tail.add(seq, first + offset, first + end)
                            if flags & ID_GIVEN and ts_us >= self._ids_since_us:
                                table.note_id(state, first + offset, first + end)
                                segment.ids_until_us = max(segment.ids_until_us, ts_us)
                            if moves_heads:
                                state.seq = seq
                                state.ts_us = ts_us
                        records += 1
                        offset = end
                        continue
                end = check_record(buffer, offset)
                record = decode_record(buffer, offset, end)
                if moves_heads:
                    self._other(record, segment.created_us, first + end)
                records += 1
                offset = end
        except BadRecord as bad:
            fault = bad
        self.records += records
        return offset, fault

    def _state(self, key: bytes, *, moves_heads: bool) -> ChannelState | None:
        """The channel of an event whose epoch is not the one that its state is known by. None: the channel has gone
        on from that epoch, or was forgotten."""
        try:
            app_id, channel, epoch = split_key(key)
        except (UnicodeDecodeError, IndexError) as error:
            raise BadRecord(f"an event's names can't be read: {error}") from error
        state = self._table.get(app_id, channel)
        if not moves_heads:
            if state is not None and state.epoch != epoch:
                state = None
        elif state is None:
            state = self._table.put(app_id, channel, epoch, 0, 0)
        elif state.epoch != epoch:
            state.begin_epoch(epoch, key)
        self._by_key[key] = state
        return state

    def _other(self, record: object, ts_us: int, end: int) -> None:
        if isinstance(record, EpochBegun):
            self._table.begin_epoch(record.app_id, record.channel, record.epoch, ts_us)
        elif isinstance(record, AppForgotten):
            self._table.forget_app(record.app_id, record.epoch)
            self._table.erasures.forget_app(record.app_id, end)
            self._by_key.clear()  # states of the app are no longer the table's
        elif isinstance(record, Erasure):
            self._table.erasures.add(record, end)


def valid_record_after(buffer: bytes, offset: int) -> int | None:
    """Where a whole record stands behind the bad one at `offset`; None where nothing follows, as in a torn tail."""
    if offset + FRAME_BYTES <= len(buffer):  # the length may be what is left of the bad one
        (length, _) = FRAME.unpack_from(buffer, offset)
        follower = offset + FRAME_BYTES + length
        if 0 < length <= BODY_BYTES_MAX and _is_record(buffer, follower):
            return int(follower)
    for match in _CANDIDATE.finditer(buffer, offset + 1):
        if _is_record(buffer, match.start()):
            return match.start()
    return None


def _is_record(buffer: bytes, offset: int) -> bool:
    if buffer[offset + FRAME_BYTES : offset + FRAME_BYTES + 1] == bytes((EVENT,)):
        # Before a checksum of megabytes: do the texts fit into the length?
        if offset + EVENT_HEAD_BYTES > len(buffer):
            return False
        length, _, _, flags, event_id, user, type_, _, _, app, channel, epoch = EVENT_HEAD.unpack_from(buffer, offset)
        texts = (event_id, type_ or flags & WAS_ERASED, app, channel, epoch)
        sizes = event_id + user + type_ + app + channel + epoch
        if not all(texts) or length < _EVENT_BODY_MIN + sizes:
            return False
    elif FRAME.unpack(buffer[offset : offset + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))[0] > _OTHER_BODY_MAX:
        return False
    try:
        check_record(buffer, offset)
    except BadRecord:
        return False
    return True
