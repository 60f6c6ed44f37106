"""Names from users must not move the cursor or turn the reading direction."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotctl.printable import printable

UNSAFE = [
    "\x1b",
    "\n",
    "\r",
    "\t",
    "\x00",
    "\x7f",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ufeff",
    "\u061c",
]


@pytest.mark.parametrize("character", UNSAFE, ids=[f"U+{ord(c):04X}" for c in UNSAFE])
def test_what_could_deceive_is_escaped(character: str) -> None:
    assert printable(f"a{character}b") == f"a\\u{ord(character):04x}b"


@pytest.mark.parametrize("text", ["Zoë", "日本語", "🙂", "עברית", "a b"])
def test_letters_of_all_scripts_stay(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_escaped_json_is_the_same_value(text: str) -> None:
    shown = printable(json.dumps({"name": text}, ensure_ascii=False))
    assert json.loads(shown) == {"name": text}
    assert not any(character in shown for character in UNSAFE)
