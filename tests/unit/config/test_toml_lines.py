"""Which line a key stands on, against documents whose lines are known by construction."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.settings.toml_lines import key_lines

CASES = {
    "a key in a table": ("[listen]\nport = 1\n", {("listen",): 1, ("listen", "port"): 2}),
    "keys before any table": ("\na = 1\nb = 2", {("a",): 2, ("b",): 3}),
    "a dotted key makes what it leads through": ("listen.port = 1", {("listen",): 1, ("listen", "port"): 1}),
    "a dotted header": ("[a.b]\n[a]\nc = 1", {("a",): 2, ("a", "b"): 1, ("a", "c"): 3}),
    "quoted keys": ("[apps.\"x.y\"]\n'a b' = 1", {("apps",): 1, ("apps", "x.y"): 1, ("apps", "x.y", "a b"): 2}),
    "escapes in keys": ('"\\u0041" = 1', {("A",): 1}),
    "comments that look like keys": ("# a = 1\nb = 1 # c = 2\nd = 1", {("b",): 2, ("d",): 3}),
    "strings that look like keys": ('a = "\\"b = 1"\nc = \'\\\'\nd = 1', {("a",): 1, ("c",): 2, ("d",): 3}),
    "strings over lines": ('a = """\nb = 1\n\\""" ""\n"""""\nc = 1', {("a",): 1, ("c",): 5}),
    "literal strings over lines": ("a = '''\nb = 1\n\\'''\nc = 1", {("a",): 1, ("c",): 4}),
    "arrays over lines": ("a = [\n 1, # ]\n [2, 'x]'],\n]\nb = 1", {("a",): 1, ("b",): 5}),
    "inline tables": (
        "a = { b = 1, c = { d = [1,\n2] } }\ne = 1",
        {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("e",): 3},
    ),
    "arrays of tables": ("[[a]]\nb = 1\n[[a]]\nb = 2", {("a",): 3, ("a", "b"): 4}),
    "nothing at all": ("", {}),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_every_key_is_found_on_its_line(text: str, expected: dict[tuple[str, ...], int]) -> None:
    tomllib.loads(text)  # the scanner is only ever given what is TOML
    assert key_lines(text) == expected


values = st.sampled_from(
    [
        *("1", "-1e9", "true", "0xf", "nan", "1979-05-27 07:32:00", "[]", "[1, [2]]", "{ x = 1 }"),
        *('"text"', "'# no comment'", '"\\"]"', "[\n  '}', # ]\n]", '"""\nk = 1\n"""', "'''\n[k]\n'''"),
    ]
)
bare_keys = st.text("abcXYZ019-_", min_size=1, max_size=5)
quoted_keys = st.text("ab.]='# \\\u00e9", max_size=5).map(lambda key: '"' + key.replace("\\", "\\\\") + '"')
keys = st.one_of(bare_keys, quoted_keys)
fillers = st.sampled_from(["", "# [a]\n", "\n\n", "  \t\n"])


@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=4), max_size=4), st.data())
def test_in_any_document_every_key_is_found_where_it_was_written(
    document: dict[str, dict[str, str]], data: st.DataObject
) -> None:
    text, expected = "", {}
    for table, members in document.items():
        text += data.draw(fillers)
        expected[table] = {"": text.count("\n") + 1}
        text += f"[ {table} ] # here\n"
        for key, value in members.items():
            text += data.draw(fillers)
            expected[table][key] = text.count("\n") + 1
            text += f"{key} = {value}\n"
    read = tomllib.loads(text) if not duplicates(document) else None
    if read is None:
        return
    found = key_lines(text)
    for table, lines in expected.items():
        path = (unquoted(table),)
        assert found[path] == lines.pop("")
        for key, line in lines.items():
            assert found[*path, unquoted(key)] == line


def unquoted(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 1")))


def duplicates(document: dict[str, dict[str, str]]) -> bool:
    """`a` and `"a"` are the same key."""
    return any(len({*map(unquoted, names)}) < len(names) for names in (document, *document.values()))
