"""Programs of native/tests that tests speak to: built with the address and undefined behaviour sanitizers."""

import struct
import subprocess

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
