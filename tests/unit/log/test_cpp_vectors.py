"""The shared record vectors as a table in C++, for the driver's own tests. Run this to write the table anew."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "native/tests/log_records.inc"


def _text(data: bytes) -> str:
    """A literal of these bytes: octal escapes of three digits end by themselves, where hexadecimal ones go on."""
    plain = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in data) + '"sv'


def _event(name: str, fields: dict[str, Any], data: bytes) -> str:
    texts = {
        key: _text((fields[key] or "").encode()) for key in ("id", "app_id", "channel", "epoch", "type", "user_id")
    }
    return (
        f"    {{{json.dumps(name)},\n"
        f"     {{.id = {texts['id']},\n      .app_id = {texts['app_id']},\n      .channel = {texts['channel']},\n"
        f"      .epoch = {texts['epoch']},\n      .seq = {fields['seq']}u,\n      .type = {texts['type']},\n"
        f"      .data = {_text(bytes.fromhex(fields['data_hex']))},\n      .user_id = {texts['user_id']},\n"
        f"      .ts_us = {fields['ts_us']}}},\n     {str(fields['id_given']).lower()},\n     {_text(data)}}},\n"
    )


def _head(name: str, fields: dict[str, Any], data: bytes) -> str:
    log_id, renewed = _text(fields["log_id"].encode()), _text(fields["renewed"].encode())
    return (
        f"    {{{json.dumps(name)}, {fields['prior_end']}u, {fields['created_us']}u, {log_id}, {renewed},\n"
        f"     {_text(data)}}},\n"
    )


def table() -> str:
    vectors = json.loads((ROOT / "tests/vectors/log_records.json").read_text(encoding="utf-8"))["records"]
    rows = {"event": "", "segment_head": ""}
    for vector in vectors:
        if vector["type"] in rows:
            encode = _event if vector["type"] == "event" else _head
            rows[vector["type"]] += encode(vector["name"], vector["fields"], bytes.fromhex(vector["hex"]))
    return (
        "// Written by tests/unit/log/test_cpp_vectors.py from tests/vectors/log_records.json.\n// clang-format off\n"
        f"const EventVector kEvents[] = {{\n{rows['event']}}};\n\n"
        f"const HeadVector kHeads[] = {{\n{rows['segment_head']}}};\n"
        "// clang-format on\n"
    )


def test_the_cpp_table_is_that_of_the_vectors() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), f"write it anew: python {Path(__file__).relative_to(ROOT)}"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
