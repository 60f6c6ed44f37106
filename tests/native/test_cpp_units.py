"""The driver's own tests, in C++: native/tests/, as programs that sanitizers watch."""

import subprocess

import pytest
from native_build import ROOT, built

DEADLINE_S = 300.0


@pytest.mark.parametrize(
    ("part", "program"),
    [("address", "polyglot_tests"), ("thread", "polyglot_tests"), ("address", "load_tests")],
    ids=["driver-address", "driver-thread", "load-address"],
)
def test_the_unit_tests_in_cpp_pass(part: str, program: str) -> None:
    # The thread sanitizer's memory map leaves no room for chance.
    command = ["setarch", "-R", built(part, program)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-8_000:]
    count, _, rest = done.stdout.splitlines()[-1].partition(" ")
    assert int(count) > 0
    assert rest == "tests, 0 failures"
