"""Answers on standard output: a table for people, JSON or NDJSON for programs. Nothing else goes there."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from polyglotctl.printable import printable


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"


def default_output() -> Output:
    """A table on a terminal, JSON when piped."""
    return Output.TABLE if sys.stdout.isatty() else Output.JSON


def show(value: object, output: Output, *, rows: str | None = None) -> None:
    """Print an answer. `rows` names the member that holds the list, where the answer is one."""
    items = value[rows] if rows is not None and isinstance(value, dict) else None
    if output is Output.JSON:
        print(_json(value, indent=2))
    elif output is Output.NDJSON:
        for item in items if items is not None else [value]:
            print(_json(item))
    elif items is not None:
        _table(items, rows or "")
    else:
        _record(value)


def _json(value: object, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Line breaks between members are ours; inside strings json has escaped them already.
    return "\n".join(printable(line) for line in text.split("\n")) if sys.stdout.isatty() else text


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value)) or "-"
    if isinstance(value, dict | list):
        return printable(json.dumps(value, ensure_ascii=False)) if value else "-"
    return str(value)


def _table(items: Sequence[Any], what: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not items:
        print(f"no {what}", file=sys.stderr)
        return
    if not isinstance(items[0], dict):
        items = [{what: item} for item in items]
    columns = list(dict.fromkeys(name for item in items for name in item))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(Text(_cell(item.get(name))) for name in columns))
    Console().print(table)


def _record(value: object) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not isinstance(value, Mapping):
        print(_cell(value))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, item in flatten(value):
        table.add_row(name.replace("_", " "), Text(_cell(item)))
    Console().print(table)


def flatten(value: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Members of nested objects under dotted names, in order."""
    rows: list[tuple[str, object]] = []
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            rows.extend(flatten(item, f"{prefix}{name}."))
        else:
            rows.append((prefix + name, item))
    return rows
