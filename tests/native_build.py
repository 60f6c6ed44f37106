"""What .ci/native builds of the driver, for tests that run it. `make test` has built all of it before."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD_DEADLINE_S = 1_200.0


def built(part: str, name: str) -> Path:
    """build/PART/NAME, built from the sources as they are now."""
    command = [ROOT / ".ci/native", part]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    directory = ROOT / "build" / ("native" if part == "library" else part)
    return directory / name
