"""The HTTP app with one app, `demo`, for every test here that asks for it."""

from collections.abc import AsyncIterator

import pytest
from http_rig import HttpRig, open_http_rig


@pytest.fixture
async def rig() -> AsyncIterator[HttpRig]:
    async with open_http_rig() as rig:
        yield rig
