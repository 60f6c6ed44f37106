"""`polyglotd`: the daemon's command line.

Turns arguments and settings into a run of the daemon or a small piece of work, and failures into exit codes:
0 done (a daemon: drained), 1 it could not start or a fault ended it, 2 wrong usage or settings, and for a second
SIGINT or SIGTERM 130 or 143. Imports what a command needs when it runs: `--help` answers at once.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec, TypeVar

import typer
from typer.exceptions import Exit, TyperException

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyglotd.settings.loading import Loaded

P = ParamSpec("P")
T = TypeVar("T")

DONE = 0
FAILED = 1
WRONG = 2

app = typer.Typer(
    help="A multi-tenant realtime engine: Phoenix channels, history, presence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)

Role = Literal["all", "gateway", "processor"]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]
DataOption = Annotated[str | None, typer.Option("--data", help="Where all state is on disk. Default: ./data")]
DevOption = Annotated[bool, typer.Option("--dev", help="Development mode: well-known credentials, loopback only.")]


class CommandFailed(Exception):
    """The message goes to standard error as it is."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        result = app(arguments, standalone_mode=False, prog_name="polyglotd")
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except Exit as done:
        return done.exit_code
    except TyperException as error:
        error.show() if hasattr(error, "show") else print(error, file=sys.stderr)
        return WRONG
    except CommandFailed as error:
        print(f"polyglotd: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _version(wanted: bool) -> None:
    if wanted:
        from polyglotd.gateway.http.release import release

        print(release())
        raise Exit(DONE)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A multi-tenant realtime engine: Phoenix channels, history, presence."""


@app.command(epilog="Example: polyglotd serve --config polyglot.toml --data /var/lib/polyglot")
def serve(
    config: ConfigOption = None,
    role: Annotated[Role, typer.Option(help="Serve clients, copy the log into the store, or both.")] = "all",
    dev: DevOption = False,
    host: Annotated[str | None, typer.Option(help="Listen here. Default: 127.0.0.1")] = None,
    port: Annotated[str | None, typer.Option(help="Listen here; 0: any free port. Default: 4000")] = None,
    data: DataOption = None,
    plane: Annotated[
        Literal["native", "asgi"] | None,
        typer.Option(help="Which data plane serves sockets. Default: native where its driver was built."),
    ] = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain. A second signal stops at once.

    Settings come from the file, stronger from variables POLYGLOTD_SECTION__KEY, strongest from these options. Once it
    serves it prints `ready http://HOST:PORT` on standard error.
    """
    loaded = _settings(config, host=host, port=port, data=data, development=dev)
    from polyglotd.serving import serve as serve_until_stopped

    return serve_until_stopped(loaded.settings, role, development=dev, plane=plane)


@app.command("check-config", epilog="Example: polyglotd check-config --config polyglot.toml")
def check_config(config: ConfigOption = None, dev: DevOption = False, data: DataOption = None) -> None:
    """Read the settings as `serve` would, and show each with who said it."""
    from polyglotd.settings.showing import settings_lines

    for line in settings_lines(_settings(config, data=data, development=dev)):
        print(line)


@app.command(epilog="Example: polyglotd migrate --data /var/lib/polyglot")
def migrate(
    config: ConfigOption = None,
    data: DataOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DATA", help="Move this directory's SQLite databases into [store] url."),
    ] = None,
) -> None:
    """Bring the databases to this release's schema; `serve` does the same at its start. No daemon may be running.

    With --from it also moves apps, keys, events, usage and webhooks from SQLite into PostgreSQL. Interrupted, it goes
    on where it was. The event log stays in its directory: serve with --data DATA from then on.
    """
    settings = _settings(config, data=data).settings
    from polyglotd.stores import is_postgres
    from polyglotd.upkeep import migrate_databases, move_databases

    if source is not None:
        if not is_postgres(settings):
            raise CommandFailed("--from: name the PostgreSQL database that it goes to, in [store] url", WRONG)
        print(_told(move_databases, settings, source, partial(print, flush=True)))
        return
    for line in _told(migrate_databases, settings):
        print(line)


@app.command(epilog="Example: polyglotd backup --data /var/lib/polyglot --to /mnt/backup/polyglot-2026-11-24")
def backup(
    to: Annotated[Path, typer.Option(metavar="DIR", help="A directory that is not there yet, or empty.")],
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Copy the data directory into another one, on which a daemon can start; also while one runs here.

    Where [store] url is a PostgreSQL database, dump that first (pg_dump), and run this then.
    """
    from polyglotd.upkeep import back_up_data

    print(_told(back_up_data, _settings(config, data=data).settings, to, partial(print, flush=True)))


@app.command("admin-token", epilog="Example: polyglotd admin-token --data /var/lib/polyglot --name ci")
def admin_token(
    config: ConfigOption = None,
    data: DataOption = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make an admin token and print it, once. It is good at once, also where the daemon runs."""
    from polyglotd.upkeep import make_admin_token

    print(_told(make_admin_token, _settings(config, data=data).settings, name))


def _settings(
    config: Path | None,
    *,
    host: str | None = None,
    port: str | None = None,
    data: str | None = None,
    development: bool = False,
) -> "Loaded":
    from polyglotd.settings.loading import load_settings
    from polyglotd.settings.problems import WrongSettings

    flags = {
        ("listen", "host"): ("--host", host),
        ("listen", "port"): ("--port", port),
        ("data", "dir"): ("--data", data),
    }
    try:
        return load_settings(config, os.environ, flags, development=development)
    except WrongSettings as error:
        count = len(error.problems)
        title = "a setting is wrong" if count == 1 else f"{count} settings are wrong"
        raise CommandFailed(f"{title}\n" + "\n".join(f"  {problem}" for problem in error.problems), WRONG) from None


def _told(work: "Callable[P, T]", *arguments: "P.args", **named: "P.kwargs") -> "T":
    """The work's result, or its fault in an operator's words."""
    from polyglotd.operator_faults import words_for_operator

    try:
        return work(*arguments, **named)
    except Exception as error:
        words = words_for_operator(error)
        if words is None:
            raise
        raise CommandFailed("\n".join(words), FAILED) from None


if __name__ == "__main__":
    main()
