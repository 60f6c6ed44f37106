"""Each fuzzer of native/fuzz for a few seconds, on its kept corpus and on what it makes of it."""

import os
import subprocess

import pytest
from native_build import ROOT, built

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
SECONDS = int(os.environ.get("POLYGLOT_FUZZ_SECONDS", "120" if FULL else "10"))
FUZZERS = sorted(path.stem for path in (ROOT / "native/fuzz").glob("fuzz_*.cpp"))


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_a_fuzzer_finds_nothing(fuzzer: str) -> None:
    built("fuzz", fuzzer)  # not in the time below
    done = subprocess.run(
        [ROOT / ".ci/fuzz", str(SECONDS), fuzzer.removeprefix("fuzz_")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-12_000:]


def test_every_fuzzer_has_a_kept_corpus() -> None:
    for fuzzer in FUZZERS:
        corpus = ROOT / "native/fuzz/corpus" / fuzzer.removeprefix("fuzz_")
        assert any(corpus.iterdir()), corpus
