"""Files of events: a line of JSON an event, or Parquet. What `export` writes and `import` reads.

A line is the event's envelope with its epoch. Where the text of `data` would not do on a line of its own, or not for
every library, it comes beside it as a string, `data_text`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from polyglotctl.failure import WrongUsage

PARQUET_ROWS = 10_000  # of one row group: what is in memory at once
_COLUMNS = ("channel", "epoch", "seq", "id", "type", "user_id", "ts", "data")


class Meta(msgspec.Struct):
    user_id: str | None
    ts: str


class Envelope(msgspec.Struct, omit_defaults=True):
    """One event. `data_text` wins over `data`."""

    id: str
    app_id: str
    channel: str
    type: str
    data: msgspec.Raw
    seq: int
    epoch: str
    meta: Meta
    data_text: str | None = None

    @property
    def text(self) -> bytes:
        """`data` as it was published."""
        return bytes(self.data) if self.data_text is None else self.data_text.encode()


_decode = msgspec.json.Decoder(Envelope).decode


def read_lines(lines: IO[bytes]) -> Iterator[Envelope]:
    """Raises `WrongUsage` with the line's number."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield event_of(line)
        except ValueError as error:
            raise WrongUsage(f"line {number} is no exported event: {error}. Lines before it were imported.") from None


def event_of(line: bytes) -> Envelope:
    """Raises ValueError."""
    try:
        return _decode(line.decode())
    except msgspec.DecodeError as error:
        # Half of a surrogate pair is JSON, though not for this decoder: the text of `data` is what counts.
        members = json.loads(line)
        if not isinstance(members, dict) or "data_text" not in members:
            raise ValueError(str(error)) from None
        return msgspec.convert({**members, "data": msgspec.Raw(b"null")}, Envelope)
    except RecursionError:
        raise ValueError("nested too deeply") from None


# --- Parquet ---


def check_parquet() -> None:
    """Raises `WrongUsage` where the library is not there."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise WrongUsage(
            "Parquet needs the library pyarrow: pip install 'polyglot-realtime[parquet]'; or use --format ndjson."
        ) from None


def is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def write_parquet(lines: Path, out: Path) -> None:
    """The lines of one file as a Parquet file, which is there as a whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    schema = pa.schema(
        [
            pa.field("channel", text, nullable=False),
            pa.field("epoch", text, nullable=False),
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("id", text, nullable=False),
            pa.field("type", text, nullable=False),
            pa.field("user_id", text),
            pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("data", text, nullable=False),  # JSON, byte for byte
        ]
    )
    temporary = out.with_name(out.name + ".tmp")
    with lines.open("rb") as source, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        rows: list[tuple[Any, ...]] = []
        for event in read_lines(source):
            rows.append(_row(event))
            if len(rows) == PARQUET_ROWS:
                writer.write_table(_table(pa, schema, rows))
                rows = []
        writer.write_table(_table(pa, schema, rows))
    temporary.replace(out)


def read_parquet(path: Path) -> Iterator[Envelope]:
    """Raises `WrongUsage` for a file of another make."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        missing = set(_COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise WrongUsage(
                f"{path} has no column {', '.join(sorted(missing))}: `polyglotctl export` makes such files."
            )
        for batch in file.iter_batches(PARQUET_ROWS, columns=list(_COLUMNS)):
            for row in batch.to_pylist():
                ts = row["ts"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                meta = Meta(row["user_id"], ts)
                nothing = msgspec.Raw(b"null")
                named = (row["id"], "", row["channel"], row["type"], nothing, row["seq"], row["epoch"], meta)
                yield Envelope(*named, data_text=row["data"])


def _row(event: Envelope) -> tuple[Any, ...]:
    from datetime import datetime

    ts = datetime.fromisoformat(event.meta.ts)
    data = event.text.decode()
    return event.channel, event.epoch, event.seq, event.id, event.type, event.meta.user_id, ts, data


def _table(pa: Any, schema: Any, rows: list[tuple[Any, ...]]) -> Any:
    columns = zip(*rows, strict=True) if rows else [[] for _ in _COLUMNS]
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
