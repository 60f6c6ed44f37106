"""polyglotd/plane/_native.so as a checkout loads it: of these sources, with no other names and no other libraries."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_build import ROOT

LIBRARY = ROOT / "polyglotd/plane/_native.so"
NATIVE = ROOT / "native"


@pytest.fixture(scope="module", autouse=True)
def built_library() -> None:
    subprocess.run([ROOT / ".ci/native", "library"], check=True, timeout=1_200)


def digest_of_sources() -> str:
    """As native/cmake/digest.cmake works it out."""
    paths = {path for pattern in ("include/**/*.h", "src/**/*.h", "src/**/*.cpp") for path in NATIVE.glob(pattern)}
    names = sorted(path.relative_to(NATIVE).as_posix() for path in paths | {NATIVE / "CMakeLists.txt"})
    lines = [f"{hashlib.sha256((NATIVE / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_library_is_built_from_the_sources_that_lie_here() -> None:
    library = ctypes.CDLL(str(LIBRARY))
    library.plg_build.restype = ctypes.c_char_p
    told = dict(word.partition("=")[::2] for word in library.plg_build().decode().split(" ")[:3])
    assert told["sources"] == digest_of_sources()
    assert told["sanitize"] == ""
    assert told["compiler"] in ("gcc", "clang")


def test_the_library_shows_the_names_of_its_header_and_no_others() -> None:
    names = output("nm", "-D", "--defined-only", "--format=just-symbols", LIBRARY).split()
    header = (NATIVE / "include/polyglot_driver.h").read_text()
    assert set(names) == set(re.findall(r"\b(plg_\w+)\(", header))


@pytest.mark.skipif(shutil.which("clang++") is not None, reason="another compiler may have another runtime")
def test_the_library_brings_its_runtime_along() -> None:
    needed = [
        line.split("[")[1].rstrip("]") for line in output("readelf", "-d", LIBRARY).splitlines() if "NEEDED" in line
    ]
    assert {name.partition(".")[0] for name in needed} <= {"libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64"}


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
