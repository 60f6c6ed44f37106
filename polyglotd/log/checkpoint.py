"""The checkpoint: where every channel stands at a position, so that older segments can go.

Written by `segments` (when a segment is full, and at the end), read by `opening`. Lines of JSON: the head, one line a
channel, and the CRC-32C of all lines before in hexadecimal. What the table says may be newer than `position`: the
records from there on, played over it, end in the same heads.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from google_crc32c import extend

from polyglotd.log.channel_table import ChannelState, ChannelTable
from polyglotd.log.interface import ErasureState, LogFault
from polyglotd.log.segment_files import replace_file

NAME = "checkpoint"
_SLICE = 2_000  # channels encoded at once: other threads run in between
_VERSION = 1

_Row = tuple[str, str, str, int, int]  # app, channel, epoch, seq, ts_us


class CheckpointHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    version: int
    log_id: str
    position: int
    initial_epoch: str
    app_epochs: dict[str, str]
    erasures: list[ErasureState] = []
    apps_forgotten: dict[str, int] = {}  # where their records end, until segments hold nothing of them


_head_decoder = msgspec.json.Decoder(CheckpointHead)
_rows_decoder = msgspec.json.Decoder(_Row)
_encoder = msgspec.json.Encoder()


def write_checkpoint(directory: Path, log_id: str, position: int, table: ChannelTable) -> None:
    """Write it durably, from a worker thread while the table changes: every record before `position` is in the
    table, and in a segment that is durable."""
    # The states come first: who drops a head renews the epoch before, so an absent head never meets its old epoch.
    states = [state for channels in list(table.apps.values()) for state in list(channels.values())]
    head = CheckpointHead(
        version=_VERSION,
        log_id=log_id,
        position=position,
        initial_epoch=table.initial_epoch,
        app_epochs=dict(table.app_epochs),
        erasures=table.erasures.states(),
        apps_forgotten=dict(table.erasures.apps),
    )
    parts = [_encoder.encode(head), b"\n"]
    crc = extend(extend(0, parts[0]), b"\n")
    for lines in _encoded_rows(states):
        crc = extend(crc, lines)
        parts.append(lines)
    parts.append(b'"%08x"\n' % crc)
    replace_file(directory / NAME, b"".join(parts), durable=True)


def _encoded_rows(states: list[ChannelState]) -> Iterator[bytes]:
    for start in range(0, len(states), _SLICE):
        yield _encoder.encode_lines(
            [(s.app_id, s.channel, s.epoch, s.seq, s.ts_us) for s in states[start : start + _SLICE]]
        )


def read_checkpoint(directory: Path) -> tuple[CheckpointHead, ChannelTable] | None:
    """None where there is none. Raises `LogFault` where it is damaged or of another version."""
    path = directory / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        last = data.rindex(b"\n", 0, -1) + 1
        if msgspec.json.decode(data[last:], type=str) != f"{extend(0, data[:last]):08x}":
            raise ValueError("its checksum is wrong")
        first = data.index(b"\n")
        head = _head_decoder.decode(data[:first])
        if head.version != _VERSION:
            raise ValueError(f"it has version {head.version}, this release reads {_VERSION}")
        table = ChannelTable(head.initial_epoch)
        table.app_epochs = dict(head.app_epochs)
        table.erasures.restore(head.erasures, head.apps_forgotten)
        for app_id, channel, epoch, seq, ts_us in _rows_decoder.decode_lines(data[first + 1 : last]):
            table.put(app_id, channel, epoch, seq, ts_us)
    except (ValueError, msgspec.MsgspecError) as error:
        raise LogFault(
            f"{path} can't be read: {error}; see docs/log-format.md, `What to do with a damaged log`"
        ) from error
    return head, table


def read_log_id(directory: Path) -> str | None:
    """The log's id; None where there is no log yet."""
    try:
        with (directory / NAME).open("rb") as file:
            return _head_decoder.decode(file.readline()).log_id
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise LogFault(f"{directory / NAME} can't be read: {error}") from error
