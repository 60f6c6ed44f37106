"""The suites of the log in segment files run on both of its writers."""

import pytest
from log_writers import WRITERS, OpenSegments


@pytest.fixture(params=list(WRITERS))
def open_segments(request: pytest.FixtureRequest) -> OpenSegments:
    return WRITERS[request.param]
