"""`polyglotctl`: the commands put together, and the one place that turns failures into exit codes.

0 done, 1 refused by the server, 2 wrong usage, 3 unreachable, 130 interrupted.
"""

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from polyglotctl.commands import (
    bench,
    channels,
    config,
    event,
    export,
    history,
    import_,
    key,
    kind,
    presence,
    publish,
    quota,
    replay,
    secret,
    stats,
    tail,
    tenant,
    token,
    user,
    webhook,
)
from polyglotctl.failure import CommandFailed
from polyglotctl.printable import printable

INTERRUPTED = 130

app = typer.Typer(
    help="Operate a Polyglot server: tenants, keys, quotas, channels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help through rich costs more than all the rest of it together
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("polyglot-realtime"))
        raise Exit(0)


@app.callback(epilog="Example: polyglotctl tenant create chat-app")
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Operate a Polyglot server: tenants, keys, quotas, channels."""


for noun in (tenant, key, secret, token, quota, kind, webhook, user, event, config, bench):
    app.add_typer(noun.app)
for verb in (publish, tail, history, presence, channels, stats, replay, export, import_):
    verb.register(app)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line and return its exit code; what went wrong is on standard error."""
    try:
        result = app(args, standalone_mode=False, prog_name="polyglotctl")
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except Exit as done:
        return done.exit_code
    except TyperException as error:
        error.show() if hasattr(error, "show") else print(error, file=sys.stderr)
        return error.exit_code
    except CommandFailed as error:
        print(f"polyglotctl: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` went away: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    main()
