"""A gateway with one app, `demo`, for every test here that asks for it.

Such a test asks for `autojump_clock` too: pytest-trio takes the clock from a test's own parameters only.
"""

from collections.abc import AsyncIterator

import pytest
from gateway_rig import Rig, open_rig
from trio.testing import MockClock


@pytest.fixture
async def rig(autojump_clock: MockClock) -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        await rig.tenant()
        yield rig
