"""Keep the writer of an SQLite store running for as long as the store is open. Used by those that have one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import trio


class WithWriter(Protocol):
    """A store as its opener needs it."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=WithWriter)


@asynccontextmanager
async def running(store: S) -> AsyncIterator[S]:
    """Run the store's writer during the block, then close the store. What the block raises rises as itself."""
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            try:
                yield store
            except Exception as error:
                failure = error  # it rises as itself, not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        store.close()
