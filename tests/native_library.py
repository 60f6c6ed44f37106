"""The library in C++ for tests of its parts in Python: the installed one, or else the log's part, compiled here."""

import atexit
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
FLAGS = ("-std=c++20", "-O1", "-fPIC", "-shared", "-pthread")


@functools.cache
def native_log_path() -> Path:
    """A library with plg_log_*. Skips the test where there is none, and no compiler."""
    if INSTALLED.exists():
        library = ctypes.CDLL(str(INSTALLED))
        if hasattr(library, "plg_abi") and hasattr(library, "plg_log_failed"):
            return INSTALLED
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no native library, and no C++ compiler to make one")
    native = ROOT / "native"
    sources = [path for pattern in SOURCES for path in sorted(native.glob(pattern))]
    directory = Path(tempfile.mkdtemp(prefix="polyglot-native."))
    atexit.register(shutil.rmtree, directory)
    output = directory / "log.so"
    command = [compiler, *FLAGS, f"-I{native / 'src'}", f"-I{native / 'include'}", *sources, "-o", output]
    subprocess.run(command, check=True, timeout=120)
    return output


@functools.cache
def native_log_library() -> ctypes.CDLL:
    return ctypes.CDLL(str(native_log_path()))
