"""Files of exported events: what comes out is what went in, byte for byte."""

import io
import json
from pathlib import Path

import pytest

from polyglotctl.event_file import Envelope, is_parquet, read_lines, read_parquet, write_parquet
from polyglotctl.failure import WrongUsage
from polyglotd.gateway.http.admin_events import event_line
from polyglotd.model import Event, imported_epoch

DATA = [
    b'{"b":1, "a":2, "b":3}',
    b"12345678901234567890",
    b"1.10",
    b'"\\u0000\\ud83d \xc3\xbc"',
    b'[1,\n\r\n\t2,"\\n"]',
    b"1e999",
    b"null",
]


def exported() -> list[bytes]:
    return [
        event_line(
            Event(
                id=f"evt_{seq}",
                app_id="app",
                channel="room:ü",
                epoch="e1",
                seq=seq,
                type="m",
                data=data,
                user_id=None if seq % 2 else "Zoë",
                ts_us=1_795_508_130_000_000 + seq,
            )
        )
        for seq, data in enumerate(DATA, 1)
    ]


def of(event: Envelope) -> tuple[object, ...]:
    meta = event.meta
    return event.channel, event.epoch, event.seq, event.id, event.type, meta.user_id, meta.ts, event.text


def test_lines_have_an_event_each_and_its_own_text() -> None:
    text = b"".join(exported())
    lines = text.splitlines()
    assert len(lines) == len(DATA)
    assert all(isinstance(json.loads(line), dict) for line in lines)
    events = list(read_lines(io.BytesIO(text + b"\n")))
    assert [event.text for event in events] == DATA
    assert [event.seq for event in events] == list(range(1, len(DATA) + 1))


def test_parquet_gives_back_what_the_lines_said(tmp_path: Path) -> None:
    lines, out = tmp_path / "lines", tmp_path / "out.parquet"
    lines.write_bytes(b"".join(exported()))
    write_parquet(lines, out)
    assert is_parquet(out)
    assert not is_parquet(lines)
    with lines.open("rb") as file:
        expected = [of(event) for event in read_lines(file)]
    assert [of(event) for event in read_parquet(out)] == expected


def test_a_file_of_nothing_and_a_file_of_others_are_known(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "none").write_bytes(b"")
    write_parquet(tmp_path / "none", tmp_path / "none.parquet")
    assert list(read_parquet(tmp_path / "none.parquet")) == []
    pq.write_table(pa.table({"id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(WrongUsage, match="no column"):
        list(read_parquet(tmp_path / "other.parquet"))


def test_an_epoch_stays_where_it_is_whole_and_is_another_for_each_cut() -> None:
    assert imported_epoch("abc", 1) == "abc"
    cut = {imported_epoch("abc", seq) for seq in range(1, 1_000)}
    assert len(cut) == 999
    assert all(len(epoch) == 10 for epoch in cut - {"abc"})
    assert imported_epoch("abc", 7) == imported_epoch("abc", 7) != imported_epoch("abd", 7)
