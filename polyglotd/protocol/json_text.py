"""JSON as text: checked, cut into its members, never rebuilt.

Called by the codecs of this room and by whoever takes an object of a client apart. msgspec's `Raw` checks the grammar
but not the UTF-8 inside strings, and keeps the last of repeated keys without a word; both are made good here. Numbers
are not looked at: `1e999` and twenty digits stay as they are. Depth: 500 brackets pass, 1,000 do not.
"""

from typing import TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")

encode_str = msgspec.json.Encoder().encode


class NotJson(ValueError):
    """The text is no JSON, no UTF-8, or nested too deeply. The words are fit for the client."""


class NoObject(ValueError):
    """JSON, but no object."""


class RepeatedKey(ValueError):
    """An object that names a key twice."""


class _Key(str):
    """A member's name as a key that equals no other: a dict of these keeps the repeated ones."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


# With `str.__new__` for the hook, no line of Python runs for a member.
_members = msgspec.json.Decoder(dict[_Key, Raw], dec_hook=str.__new__)
_members_of_each = msgspec.json.Decoder(list[dict[_Key, Raw]], dec_hook=str.__new__)
_value = msgspec.json.Decoder(Raw)


def check_json(text: bytes) -> None:
    """Raises NotJson."""
    decode_checked(_value, text)


def members(text: bytes) -> dict[str, bytes]:
    """The members of an object, each value as its own text. Raises NotJson, NoObject, RepeatedKey."""
    try:
        pairs = decode_checked(_members, text)
    except msgspec.ValidationError:
        raise NoObject("not a JSON object") from None
    found = {str(key): bytes(value) for key, value in pairs.items()}
    if len(found) != len(pairs):
        raise RepeatedKey("a key is repeated")
    return found


def member_counts(text: bytes) -> list[int]:
    """How many members each object of an array has, a repeated one counted each time. The text is UTF-8.

    Raises msgspec's errors and RecursionError where it is no array of objects.
    """
    return [len(pairs) for pairs in _members_of_each.decode(text)]


def decode_checked(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode with every way to be no JSON as NotJson. Raises also msgspec.ValidationError: JSON of another shape."""
    try:
        text.decode()
        return decoder.decode(text)
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    except RecursionError:
        raise NotJson("JSON nested too deeply") from None
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        raise NotJson("not JSON") from None
