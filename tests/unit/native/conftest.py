"""The driver's functions as tools that answer on stdin and stdout: built once a session with the system's compiler.

What they are for: the driver's rules are the Python plane's, so both get the same inputs and must say the same. The
tools are built with sanitizers; one that sees a fault of ours dies, and the test with it.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "native"
FLAGS = ["-std=c++20", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILD_DEADLINE_S = 300.0
NUMBER = struct.Struct("<I")

Field = bytes | str | int


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


@pytest.fixture(scope="session")
def build_tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, list[str]], Tool]]:
    """`build_tool("websocket_tool", ["websocket/*.cpp"])`: native/tests/NAME.cpp with these files of native/src."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    with ExitStack() as processes:

        def build(name: str, sources: list[str]) -> Tool:
            files = sorted(str(path) for pattern in sources for path in (NATIVE / "src").glob(pattern))
            tool = tmp_path_factory.mktemp(name) / name
            command = [compiler, *FLAGS, f"-I{NATIVE}/src", str(NATIVE / "tests" / f"{name}.cpp"), *files]
            built = subprocess.run([*command, "-o", tool], capture_output=True, text=True, timeout=BUILD_DEADLINE_S)
            assert built.returncode == 0, built.stderr
            process = processes.enter_context(subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            processes.callback(process.kill)
            return Tool(process)

        yield build


@pytest.fixture(scope="session")
def websocket_tool(build_tool: Callable[[str, list[str]], Tool]) -> Tool:
    """Everything of native/src/websocket."""
    sources = ["websocket/*.cpp", "base/sha1.cpp", "base/base64.cpp", "phoenix/json_*.cpp", "phoenix/utf8.cpp"]
    return build_tool("websocket_tool", sources)
