"""The library in C++ for tests of its parts in Python: the installed one, or else the log's part, compiled here."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = ROOT / "polyglotd/plane/_native.so"
SOURCES = ("src/log_api.cpp", "src/log/*.cpp", "src/base/crc32c.cpp")


@functools.cache
def native_log_library() -> ctypes.CDLL:
    """With plg_log_*. Skips the test where there is none, and no compiler."""
    if INSTALLED.exists():
        library = ctypes.CDLL(str(INSTALLED))
        if hasattr(library, "plg_abi") and hasattr(library, "plg_log_failed"):
            return library
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no native library, and no C++ compiler to make one")
    native = ROOT / "native"
    sources = [str(path) for pattern in SOURCES for path in sorted(native.glob(pattern))]
    with tempfile.TemporaryDirectory(prefix="polyglot-native.") as directory:
        output = Path(directory) / "log.so"
        includes = [f"-I{native / part}" for part in ("src", "include")]
        command = [
            compiler,
            "-std=c++20",
            "-O1",
            "-fPIC",
            "-shared",
            *includes,
            *sources,
            "-o",
            str(output),
            "-pthread",
        ]
        subprocess.run(command, check=True, timeout=120)
        return ctypes.CDLL(str(output))  # it stays mapped when the file is gone
