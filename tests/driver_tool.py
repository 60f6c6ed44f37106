"""Programs of native/tests that tests speak to, compiled with the system's compiler and with sanitizers.

Not built with the rest of the driver, so that a test of a part needs only that part.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[1] / "native"
FLAGS = ["-std=c++20", "-O1", "-g1", "-pthread", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILD_DEADLINE_S = 300.0
NUMBER = struct.Struct("<I")

WEBSOCKET = ("websocket/*.cpp", "base/sha1.cpp", "base/base64.cpp", "phoenix/json_*.cpp", "phoenix/utf8.cpp")

Field = bytes | str | int


def compile_tool(name: str, sources: Sequence[str], directory: Path) -> Path:
    """native/tests/NAME.cpp with these files of native/src. Skips the test where there is no compiler."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    files = sorted(str(path) for pattern in sources for path in (NATIVE / "src").glob(pattern))
    command = [compiler, *FLAGS, f"-I{NATIVE}/src", str(NATIVE / "tests" / f"{name}.cpp"), *files]
    built = subprocess.run(
        [*command, "-o", directory / name], capture_output=True, text=True, timeout=BUILD_DEADLINE_S
    )
    assert built.returncode == 0, built.stderr
    return directory / name


class Tool:
    """One process: a call is a request and its answer, in the form of native/tests/tool_fields.h."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def __call__(self, *fields: Field) -> list[bytes]:
        assert self._process.stdin is not None
        request = bytearray(NUMBER.pack(len(fields)))
        for field in fields:
            data = field if isinstance(field, bytes) else str(field).encode("utf-8", "surrogatepass")
            request += NUMBER.pack(len(data)) + data
        self._process.stdin.write(request)
        self._process.stdin.flush()
        return [self._read(self._read_number()) for _ in range(self._read_number())]

    def _read_number(self) -> int:
        return int(NUMBER.unpack(self._read(NUMBER.size))[0])

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        assert len(data) == size, "the tool has died; its last words are on stderr"
        return data
