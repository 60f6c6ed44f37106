"""`polyglotctl token`: tokens of an app's users."""

from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, User, json_value, seconds
from polyglotctl.render import Output
from polyglotctl.session import Session

app = typer.Typer(name="token", help="User tokens (JWT) of an app.", no_args_is_help=True)
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="A JWT.")]


@app.command(
    "issue",
    cls=AppCommand,
    epilog="Example: polyglotctl token issue chat-app alice --channel 'room:*=join,publish,presence' --ttl 8h",
)
def issue(
    app_id: AppId,
    user: User,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel", metavar="PATTERN=CAP,CAP", help="What it may do where: join, publish, presence. Repeat it."
        ),
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is valid.")] = "1h",
    info: Annotated[
        str | None, typer.Option("--info", metavar="JSON", help="An object shown in presence.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Sign a token with the app's newest shared secret and print it, alone on a line."""
    body: dict[str, object] = {"user": user, "ttl_s": seconds(ttl, "--ttl")}
    if channel:
        body["channels"] = dict(_capabilities(item) for item in channel)
    if info is not None:
        body["info"] = json_value(info, "--info")
    session = Session(output)
    answer = session.call("POST", f"/admin/apps/{segment(app_id)}/tokens", body)
    if output in (Output.JSON, Output.NDJSON):
        session.show(answer)
    else:  # so that TOKEN=$(polyglotctl token issue …) works
        print(answer["token"])


def _capabilities(item: str) -> tuple[str, list[str]]:
    pattern, equals, capabilities = item.rpartition("=")
    if not equals or not pattern:
        raise WrongUsage(f"--channel {item}: write PATTERN=CAP,CAP, for example 'room:*=join,publish'.")
    return pattern, [name.strip() for name in capabilities.split(",") if name.strip()]


@app.command("inspect", cls=AppCommand, epilog="Example: polyglotctl token inspect chat-app eyJhbGciOi…")
def inspect(app_id: AppId, token: Token, output: OutputOption = None) -> None:
    """Say what a token claims, whether the server takes it, and if not, why."""
    session = Session(output)
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/tokens/inspect", {"token": token}))


@app.command("revoke", cls=AppCommand, epilog="Example: polyglotctl token revoke chat-app eyJhbGciOi…")
def revoke(
    app_id: AppId,
    token: Annotated[str, typer.Argument(metavar="TOKEN|JTI", help="The token, or its jti.")],
    output: OutputOption = None,
) -> None:
    """Make one token invalid at once, and close its connections. Only tokens with a jti can be revoked alone."""
    session = Session(output)
    body = {"token": token} if token.count(".") == 2 else {"jti": token}
    session.call("POST", f"/admin/apps/{segment(app_id)}/tokens/revoke", body)
    session.show({"revoked": True})
