"""The driver's library for tests that load it themselves: the checkout's, or the one that .ci/sanitized names."""

import ctypes
import functools
import os
from pathlib import Path

from native_build import built


@functools.cache
def native_log_path() -> Path:
    return Path(os.environ.get("POLYGLOT_NATIVE_LIBRARY") or built("library", "_native.so"))


@functools.cache
def native_log_library() -> ctypes.CDLL:
    return ctypes.CDLL(str(native_log_path()))
