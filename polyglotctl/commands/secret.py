"""`polyglotctl secret`: what an app's user tokens are signed or verified with."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, Yes, confirm
from polyglotctl.session import Session

app = typer.Typer(name="secret", help="Signing secrets and public keys of an app.", no_args_is_help=True)
SecretId = Annotated[str, typer.Argument(metavar="SECRET_ID", help="As `secret list` shows it.")]


@app.command("create", cls=AppCommand, epilog="Example: polyglotctl secret create chat-app")
def create(app_id: AppId, output: OutputOption = None) -> None:
    """Create a shared secret (HS256) and print it, this once."""
    session = Session(output)
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/secrets", {}))


@app.command("list", cls=AppCommand, epilog="Example: polyglotctl secret list chat-app")
def list_(app_id: AppId, output: OutputOption = None) -> None:
    """Secrets and public keys, newest first; revoked ones too."""
    session = Session(output)
    session.show(session.call("GET", f"/admin/apps/{segment(app_id)}/secrets"), rows="secrets")


@app.command("import", cls=AppCommand, epilog="Example: polyglotctl secret import chat-app key.pem --algorithm ES256")
def import_(
    app_id: AppId,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A PEM public key, or the text of an HS256 secret; - reads it.")
    ],
    algorithm: Annotated[str, typer.Option("--algorithm", help="HS256, EdDSA, ES256 or RS256.")],
    output: OutputOption = None,
) -> None:
    """Add a public key, or a shared secret that another system signs with."""
    try:
        material = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"can't read {file}: {error}") from None
    session = Session(output)
    body = {"algorithm": algorithm, "material": material.strip()}
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/secrets/import", body))


@app.command("revoke", cls=AppCommand, epilog="Example: polyglotctl secret revoke chat-app sec_8f3a --yes")
def revoke(app_id: AppId, secret_id: SecretId, yes: Yes = False, output: OutputOption = None) -> None:
    """Make every token that was signed with it invalid at once."""
    session = Session(output)
    confirm(f"Revoke secret {secret_id} of {app_id}, and with it every token that it signed?", yes=yes)
    session.call("DELETE", f"/admin/apps/{segment(app_id)}/secrets/{segment(secret_id)}")
    session.show({"secret_id": secret_id, "revoked": True})
