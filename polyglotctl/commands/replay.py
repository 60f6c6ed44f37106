"""`polyglotctl replay`: a channel's past once more, in another channel."""

from typing import Annotated

import typer

from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, Channel, OutputOption
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command(
        "replay",
        cls=AppCommand,
        epilog="Example: polyglotctl replay chat-app room:lobby --from 2026-11-23T08:00:00Z --speed 10",
    )(replay)


def replay(
    app_id: AppId,
    channel: Channel,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="RFC 3339: 2026-11-23T08:00:00Z.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", show_default=False)] = None,
    speed: Annotated[
        str, typer.Option("--speed", metavar="N|max", help="N times as fast as then; max or 0: as fast as allowed.")
    ] = "1",
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="CHANNEL", help="Absent: KIND:replay-NAME.", show_default=False),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="Go on behind this event of the part.", show_default=False),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Publish a channel's past again in another channel: same users, types and data, the spacing of then.

    Replayed events have ids that begin with replay_. Interrupted, it says how to go on.
    """
    from polyglotctl.channel_replay import Replay, default_target, replay_channel

    session = Session(output)
    wanted = Replay(app_id, channel, into or default_target(channel), from_, to, _speed(speed), after)
    session.show(replay_channel(session, wanted))


def _speed(text: str) -> float:
    try:
        speed = 0.0 if text == "max" else float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed < float("inf"):
        raise WrongUsage(f"--speed {text}: a number, for example 10, or max.")
    return speed
