"""The webhooks' queue on one node: a `WebhookQueue` in an SQLite file.

Opened by the composition root with `open_sqlite_webhooks`: in the processor, which appends and delivers, and in the
gateway, for operators. The SQL is in `webhook_items` and `webhook_messages`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from polyglotd.log.interface import Erasure
from polyglotd.model import now_us
from polyglotd.store.sqlite import webhook_items as items
from polyglotd.store.sqlite import webhook_messages as messages
from polyglotd.store.sqlite.empty_wal import EmptyWal
from polyglotd.store.sqlite.files import WEBHOOKS, migrate
from polyglotd.store.sqlite.group_commit import GroupCommit
from polyglotd.store.sqlite.read_pool import ReadPool
from polyglotd.store.sqlite.running import running
from polyglotd.store.webhooks import (
    Appended,
    DeadLetter,
    EndpointState,
    Message,
    Presences,
    QueuedItem,
    QueueStats,
    Runs,
    Try,
)

READERS_MAX = 8
APP_BYTES_MAX = 1 << 30  # of an app's items


class SqliteWebhookQueue:
    """Satisfies `WebhookQueue`."""

    def __init__(self, path: Path, clock: Callable[[], int], app_bytes_max: int) -> None:
        self._clock = clock
        self._app_bytes_max = app_bytes_max
        self._writer = GroupCommit(path, on_rollback=lambda: None)
        self._emptying = EmptyWal(path)
        self._pool = ReadPool(path, connections_max=READERS_MAX)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The writer, until cancelled. `open_sqlite_webhooks` runs it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._emptying.run)
            await nursery.start(self._writer.run)
            task_status.started()

    def close(self) -> None:
        self._writer.close()
        self._pool.close()

    # --- from the log ---

    async def cursor(self, log_id: str) -> int:
        return await self._pool.read(lambda c: items.read_cursor(c, log_id))

    async def presences(self) -> Presences:
        return await self._pool.read(items.read_presences)

    async def append(self, log_id: str, end: int, batch: Appended) -> None:
        now = self._clock()
        await self._writer.do(lambda c: items.append(c, log_id, end, batch, now, self._app_bytes_max))
        if batch.erasures or batch.forgotten:
            self._emptying.ask()

    # --- to the endpoints ---

    async def begin(self, app_id: str, endpoint_id: str) -> EndpointState:
        return await self._writer.do(lambda c: messages.begin(c, app_id, endpoint_id))

    async def pause(self, endpoint_id: str, why: str, at_us: int) -> int:
        return await self._writer.do(lambda c: messages.pause(c, endpoint_id, why, at_us))

    async def retain(self, endpoint_ids: Collection[str]) -> None:
        await self._writer.do(lambda c: messages.retain(c, endpoint_ids))

    async def items(self, app_id: str, after: int, limit: int, bytes_max: int) -> Sequence[QueuedItem]:
        return await self._pool.read(lambda c: items.read_items(c, app_id, after, limit, bytes_max))

    async def contents(self, app_id: str, runs: Runs) -> Sequence[QueuedItem] | None:
        return await self._pool.read(lambda c: items.read_contents(c, app_id, runs))

    async def pending(self, endpoint_id: str) -> Sequence[Message]:
        return await self._pool.read(lambda c: messages.read_pending(c, endpoint_id))

    async def formed(self, endpoint_id: str, cursor: int, formed: Sequence[Message]) -> None:
        await self._writer.do(lambda c: messages.formed(c, endpoint_id, cursor, formed))

    async def sent(self, endpoint_id: str, one: Try) -> None:
        await self._writer.do(lambda c: messages.sent(c, endpoint_id, one))

    async def failed(self, message: Message, one: Try, failures: int, resume_us: int) -> None:
        await self._writer.do(lambda c: messages.failed(c, message, one, failures, resume_us))

    async def died(self, message_id: str, why: str, at_us: int) -> None:
        await self._writer.do(lambda c: messages.died(c, message_id, why, at_us))

    async def drop(self, message_id: str) -> None:
        await self._writer.do(lambda c: messages.drop(c, message_id))

    async def sweep(self, now_us: int) -> bool:
        return await self._writer.do(lambda c: items.sweep(c, now_us))

    # --- for operators ---

    async def changes(self) -> int:
        return await self._pool.read(messages.read_changes)

    async def states(self, app_id: str) -> Mapping[str, EndpointState]:
        return await self._pool.read(lambda c: messages.read_states(c, app_id))

    async def tries(self, endpoint_id: str, limit: int) -> Sequence[Try]:
        return await self._pool.read(lambda c: messages.read_tries(c, endpoint_id, limit))

    async def dead_letters(self, endpoint_id: str, before: str | None, limit: int) -> Sequence[DeadLetter]:
        return await self._pool.read(lambda c: messages.read_dead_letters(c, endpoint_id, before, limit))

    async def dead_letter(self, endpoint_id: str, message_id: str) -> bytes | None:
        return await self._pool.read(lambda c: messages.read_dead_letter(c, endpoint_id, message_id))

    async def replay(self, endpoint_id: str, message_ids: Collection[str] | None, now_us: int, until_us: int) -> int:
        return await self._writer.do(lambda c: messages.replay(c, endpoint_id, message_ids, now_us, until_us))

    async def stats(self) -> QueueStats:
        return await self._pool.read(messages.read_stats)

    # --- erasure ---

    async def erase(self, erasure: Erasure) -> int:
        erased = await self._writer.do(lambda c: items.erase(c, erasure))
        self._emptying.ask()
        return erased

    async def forget_app(self, app_id: str) -> None:
        await self._writer.do(lambda c: items.forget_app(c, app_id))
        self._emptying.ask()


@asynccontextmanager
async def open_sqlite_webhooks(
    path: Path, *, clock: Callable[[], int] = now_us, app_bytes_max: int = APP_BYTES_MAX
) -> AsyncIterator[SqliteWebhookQueue]:
    """Open the queue, made or migrated where need be, and run its writer. Raises `StoreFault`."""
    await trio.to_thread.run_sync(migrate, path, WEBHOOKS)
    async with running(SqliteWebhookQueue(path, clock, app_bytes_max)) as queue:
        yield queue
