"""Small work on a data directory, beside the daemon or without it. Called by `cli`; each is one call that blocks."""

from collections.abc import Callable
from pathlib import Path

import trio

from polyglotd.config import Settings
from polyglotd.first_start import add_admin_token
from polyglotd.host.cannot_start import CannotStart
from polyglotd.host.data_directory import locked_data_directory
from polyglotd.store.sqlite.files import EVENTS, REGISTRY, ROLLUPS, WEBHOOKS, Schema, migrate
from polyglotd.stores import events_path, is_postgres, open_registry, registry_path, rollups_path, webhooks_path


def make_admin_token(settings: Settings, name: str) -> str:
    """A new token. A running daemon sees it within a moment. Raises what `operator_faults` has words for."""

    async def make() -> str:
        async with open_registry(settings) as registry:
            return await add_admin_token(registry, name)

    with locked_data_directory(Path(settings.data.dir), ()):
        return trio.run(make)


def migrate_databases(settings: Settings) -> list[str]:
    """Bring every database to this release's schema; a line for each. Raises what `operator_faults` has words for."""
    lines = []
    with locked_data_directory(Path(settings.data.dir), ("gateway", "processor")):
        for path, schema in _files(settings):
            before, after = migrate(path, schema)
            lines.append(_line(str(path), before, after))
        if is_postgres(settings):
            from polyglotd.store.postgres import schema as postgres  # with its library, which others do without

            found = postgres.migrate(settings.store.url)
            lines.append(_line(f"{found.where} ({found.server})", found.before, found.after))
    return lines


def move_databases(settings: Settings, directory: Path, tell: Callable[[str], None]) -> str:
    """Move the SQLite databases of a data directory into the PostgreSQL that the settings name; what was done. `tell`
    hears how it goes. Raises what `operator_faults` has words for, `InUse` while a daemon runs on the directory."""
    from polyglotd.store.moving import Source, move  # with a library that others do without

    if not directory.is_dir():
        raise CannotStart(f"{directory} is no directory")
    source = Source(
        directory=directory,
        registry=directory / "registry.db",
        events=directory / "events.db",
        webhooks=directory / "webhooks.db",
        rollups=directory / "rollups.db",
    )
    with locked_data_directory(directory, ("gateway", "processor")):
        return move(source, settings.store.url, tell)


def back_up_data(settings: Settings, to: Path, tell: Callable[[str], None]) -> str:
    """Copy the data directory to `to`, also while daemons run on it; what else is to be done. Raises what
    `operator_faults` has words for."""
    from polyglotd.backup import back_up

    data = Path(settings.data.dir)
    if not is_postgres(settings):
        back_up(data, events_path(settings), to, tell)
        return f"{to} is a copy of {data}"
    back_up(data, None, to, tell)
    return f"{to} is a copy of {data}; it belongs to a dump of the database that was made before"


def _files(settings: Settings) -> list[tuple[Path, Schema]]:
    if is_postgres(settings):
        return []
    return [
        (registry_path(settings), REGISTRY),
        (events_path(settings), EVENTS),
        (webhooks_path(settings), WEBHOOKS),
        (rollups_path(settings), ROLLUPS),
    ]


def _line(what: str, before: int, after: int) -> str:
    return f"{what}: schema {after}" + ("" if before == after else f", was {before}")
