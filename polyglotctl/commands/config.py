"""`polyglotctl config`: which server the commands speak to, and why."""

import os

import typer

from polyglotctl.options import OutputOption
from polyglotctl.session import Session

app = typer.Typer(name="config", help="Where the commands find the server.", no_args_is_help=True)


@app.command("show", epilog="Example: POLYGLOT_DATA=/var/lib/polyglot polyglotctl config show")
def show(output: OutputOption = None) -> None:
    """The server, the credential in use (not its text), and what named them."""
    session = Session(output)
    server = session.server
    if server.socket is not None:
        credential = "the Unix socket (this user's uid)"
    elif server.admin_token:
        credential = "an admin token"
    else:
        credential = "an API key" if server.api_key else "none"
    session.show(
        {
            "server": str(server.socket or server.url),
            "found_by": server.found_by,
            "credential": credential,
            "app": os.environ.get("POLYGLOT_APP"),
        }
    )
