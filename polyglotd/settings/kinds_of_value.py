"""Read a value as the type of its setting, and say in words what the type allows.

Called by `loading`. The types are those of the Structs in `polyglotd.config`: plain, bounded or literal
ones, and lists.
"""

import math

import msgspec
from msgspec import inspect

TEXT_SEPARATOR = ","
_SWITCH = ("true", "false")


def read(kind: object, value: object, *, is_text: bool) -> object:
    """The value as this type. `is_text`: it comes from a variable or a flag. Raises ValueError, with nothing to say:
    `in_words` says what would be right."""
    info = inspect.type_info(kind)
    try:
        if is_text and isinstance(value, str):
            if isinstance(info, inspect.VarTupleType):
                value = _split(value)
            elif isinstance(info, inspect.UnionType):  # true, false, or a list
                value = _split(value) if value.strip().lower() not in _SWITCH else value.strip().lower() == "true"
            elif not isinstance(info, inspect.StrType):
                value = value.strip().lower() if isinstance(info, inspect.BoolType) else value.strip()
        read_value = msgspec.convert(value, kind, strict=not is_text)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError from None
    if isinstance(read_value, float) and not math.isfinite(read_value):
        raise ValueError
    return read_value


def in_words(kind: object) -> str:
    """What the type allows: `a whole number from 0 to 65535`, `one of os, interval, always`."""
    info = inspect.type_info(kind)
    match info:
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, info.values))}"
        case inspect.IntType():
            return f"a whole number{_bounds(info)}"
        case inspect.FloatType():
            return f"a number{_bounds(info)}"
        case inspect.StrType():
            return "text"
        case inspect.VarTupleType():
            return "a list of texts"
        case inspect.UnionType():
            return "true, false or a list of texts"
    raise TypeError(f"no words for {info}")


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    return f" of at least {info.ge}" if info.ge is not None else ""


def _split(text: str) -> list[object]:
    if text.lstrip().startswith("["):
        listed = msgspec.json.decode(text)
        if not isinstance(listed, list):
            raise msgspec.ValidationError("not a list")
        return listed
    return [part.strip() for part in text.split(TEXT_SEPARATOR) if part.strip()]
