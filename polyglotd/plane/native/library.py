"""Find the driver's library, load it, and say in words why there is none.

Called by the composition root, which falls back to the Python plane or refuses to start. Nothing is loaded at import.
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_ssize_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ABI = 4  # PLG_ABI of polyglot_driver.h
INSTALLED = Path(__file__).parents[1] / "_native.so"
OVERRIDE = "POLYGLOT_NATIVE_LIBRARY"
"""For tests: another build of the library, for example with a sanitizer."""

_FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "plg_open": (
        c_int,
        (
            c_uint32,
            c_char_p,
            c_size_t,
            c_void_p,
            POINTER(c_int32),
            c_size_t,
            POINTER(c_void_p),
            c_char_p,
            c_size_t,
        ),
    ),
    "plg_wake_fd": (c_int, (c_void_p,)),
    "plg_take_records": (c_ssize_t, (c_void_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_uint64))),
    "plg_submit": (c_int, (c_void_p, c_uint32, c_char_p, c_size_t)),
    "plg_counters": (c_ssize_t, (c_void_p, c_char_p, c_size_t)),
    "plg_take_latencies": (c_ssize_t, (c_void_p, POINTER(c_void_p))),
    "plg_failure": (c_size_t, (c_void_p, c_char_p, c_size_t)),
    "plg_close": (None, (c_void_p,)),
}


class NoDriver(Exception):
    """There is no library that can be used. The words are for the operator."""


@dataclass(frozen=True, slots=True)
class Library:
    """The loaded library. `call`: its plg_* functions of the driver, declared."""

    cdll: ctypes.CDLL
    call: dict[str, Any]
    build: str  # what it was built from and with


def load_library() -> Library:
    """Raises NoDriver."""
    path = Path(os.environ.get(OVERRIDE) or INSTALLED)
    if not path.exists():
        raise NoDriver("the driver is not built: a C++ compiler was missing when polyglotd was installed")
    try:
        cdll = ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise NoDriver(f"the driver can't be loaded: {error}") from error
    try:
        cdll.plg_abi.restype = c_uint32
        abi = cdll.plg_abi()
        cdll.plg_build.restype = c_char_p
        build = cdll.plg_build().decode()
        call = {name: _declared(cdll, name, *types) for name, types in _FUNCTIONS.items()}
    except AttributeError as error:
        raise NoDriver(f"{path} is not the driver of this release: {error}") from error
    if abi != ABI:
        raise NoDriver(f"{path} is of another release: its ABI is {abi}, not {ABI}")
    return Library(cdll, call, build)


def _declared(cdll: ctypes.CDLL, name: str, result: object, arguments: tuple[object, ...]) -> Any:
    function = cdll[name]
    function.restype = result  # type: ignore[assignment]
    function.argtypes = arguments  # type: ignore[assignment]
    return function
