"""The record format, against vectors that every writer of the log shares, and against damage."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, EpochBegun, Erasure, Meter, PresenceChanged, QuotaReached
from polyglotd.log.record import (
    FRAME_BYTES,
    ID_GIVEN,
    BadRecord,
    SegmentHead,
    channel_key,
    check_record,
    decode_record,
    encode_app_forgotten,
    encode_epoch_begun,
    encode_erasure,
    encode_event_record,
    encode_meter,
    encode_presence,
    encode_quota_reached,
    encode_segment_head,
    split_key,
)
from polyglotd.model import Event
from polyglotd.model.latency import LATENCY_BUCKETS, Latency

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "log_records.json").read_text(encoding="utf-8"))
RECORDS = [pytest.param(v, id=v["name"]) for v in VECTORS["records"]]
ONLY_READ = {
    "a type from 128 on may be passed over",
    "a meter with a field that came later",
    "a meter from before there were latencies",
}
NOT_RECORDS = [pytest.param(bytes.fromhex(v["hex"]), id=v["name"]) for v in VECTORS["not_records"]]


def record_of(vector: dict[str, Any]) -> object:
    """What the vector's fields say."""
    fields = dict(vector["fields"])
    match vector["type"]:
        case "event":
            fields.pop("id_given")
            return Event(data=bytes.fromhex(fields.pop("data_hex")), **fields)
        case "meter":
            sum_us, buckets = fields.pop("latency", (0, {}))
            return Meter(latency=Latency(sum_us, {int(at): count for at, count in buckets.items()}), **fields)
        case "epoch_begun":
            return EpochBegun(**fields)
        case "app_forgotten":
            return AppForgotten(**fields)
        case "presence":
            return PresenceChanged(**fields)
        case "quota_reached":
            return QuotaReached(**fields)
        case "erase":
            return Erasure(**fields)
        case "tombstone":
            return Event(type="erased", data=b"null", user_id=None, **fields)
        case "segment_head":
            return SegmentHead(**fields)
        case _:
            return None


def encoded(record: object) -> bytes:
    match record:
        case Event():
            return encode_event_record(record, channel_key(record.app_id, record.channel, record.epoch))
        case Meter():
            return encode_meter(record)
        case EpochBegun():
            return encode_epoch_begun(record)
        case AppForgotten():
            return encode_app_forgotten(record)
        case PresenceChanged():
            return encode_presence(record)
        case QuotaReached():
            return encode_quota_reached(record)
        case Erasure():
            return encode_erasure(record)
        case SegmentHead():
            return encode_segment_head(record)
    raise AssertionError(record)


@pytest.mark.parametrize("vector", RECORDS)
def test_a_vectors_bytes_decode_to_its_fields(vector: dict[str, Any]) -> None:
    data = b"before" + bytes.fromhex(vector["hex"]) + b"after"
    end = check_record(data, 6)
    assert end == len(data) - 5
    assert decode_record(data, 6, end) == record_of(vector)


@pytest.mark.parametrize("vector", [p for p in RECORDS if p.id not in ONLY_READ and "erased" not in str(p.id)])
def test_a_vectors_fields_encode_to_its_bytes(vector: dict[str, Any]) -> None:
    data = encoded(record_of(vector))
    assert data.hex() == vector["hex"]
    if vector["type"] == "event":
        assert bool(data[FRAME_BYTES + 1] & ID_GIVEN) == vector["fields"]["id_given"]


@pytest.mark.parametrize("data", NOT_RECORDS)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecord):
        decode_record(data, 0, check_record(data, 0))


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
counts = st.integers(0, 2**64 - 1)
events = st.builds(
    Event,
    id=names,
    app_id=names,
    channel=names,
    epoch=names,
    seq=counts,
    type=names,
    data=st.binary(max_size=300),
    user_id=st.none() | names,
    ts_us=counts,
)
latencies = st.builds(Latency, counts, st.dictionaries(st.integers(0, LATENCY_BUCKETS - 1), counts))
others = st.one_of(
    st.builds(Meter, names, counts, counts, counts, counts, counts, latencies),
    st.builds(EpochBegun, names, names, names),
    st.builds(AppForgotten, names, names),
    st.builds(
        PresenceChanged,
        st.sampled_from(("unconfirmed", "settled", "occupied", "vacated", "joined", "left")),
        names,
        names,
        st.just("") | names,
        counts,
    ),
    st.builds(
        Erasure,
        names,
        names,
        st.sampled_from(["event", "history", "user"]),
        st.just("") | names,
        st.just("") | names,
        counts,
        counts,
        st.none() | names,
        counts,
    ),
    st.builds(SegmentHead, counts, counts, names, st.just("") | names),
)


@given(st.lists(events | others, max_size=5))
def test_records_that_follow_each_other_come_back_one_by_one(records: list[object]) -> None:
    data = b"".join(map(encoded, records))
    offset, found = 0, []
    while offset < len(data):
        end = check_record(data, offset)
        found.append(decode_record(data, offset, end))
        offset = end
    assert found == records


@given(events | others, st.data())
def test_a_changed_or_missing_byte_is_noticed(record: object, data: st.DataObject) -> None:
    good = encoded(record)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    for bad in (good[:at] + bytes([changed]) + good[at + 1 :], good[:at]):
        with pytest.raises(BadRecord):
            check_record(bad, 0)


@given(names, names, names)
def test_a_channels_key_splits_into_its_names(app_id: str, channel: str, epoch: str) -> None:
    assert split_key(channel_key(app_id, channel, epoch)) == (app_id, channel, epoch)


def test_keys_of_channels_whose_names_run_together_differ() -> None:
    assert channel_key("ab", "c:d", "e") != channel_key("a", "bc:d", "e")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"user_id": ""}, id="an empty user"),
        pytest.param({"id": "x" * 256}, id="an id too long"),
        pytest.param({"seq": -1}, id="a negative seq"),
        pytest.param({"seq": 2**64}, id="a seq too large"),
        pytest.param({"data": bytes((16 << 20) + 1)}, id="data too large"),
    ],
)
def test_an_event_that_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "id": "evt_0",
        "app_id": "a",
        "channel": "room:1",
        "epoch": "e",
        "seq": 1,
        "type": "t",
        "data": b"1",
        "user_id": None,
        "ts_us": 1,
    }
    with pytest.raises(ValueError):
        encoded(Event(**(fields | wrong)))


def test_a_meter_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError):
        encode_meter(Meter("a", 1, -1, 0, 0, 0))


def test_the_fixed_part_of_an_event_is_where_the_documentation_says() -> None:
    """docs/log-format.md works this one by hand."""
    data = bytes.fromhex(VECTORS["records"][0]["hex"])
    assert struct.unpack_from("<I", data, 0) == (len(data) - 8,)
    assert data[8] == 1  # an event
    assert data[9] == 0  # the id is the server's
    assert list(data[10:13]) == [30, 7, 7]  # id, user, type
    assert struct.unpack_from("<QQ", data, 13) == (57, 1795508130123456)
    assert list(data[29:32]) == [8, 10, 10]  # app, channel, epoch
    assert data[32:] == b"chat-approom:lobbyk3x9q7w2maevt_01jdabcdefghjkmnpqrstvwxyzuser123" + (
        b'message{"text":"Hello"}'
    )
