"""`polyglotctl bench`: put load on a server and say what came of it.

The load comes from a process of its own, on this machine: where the server is here too, both want a core.
"""

from typing import Annotated

import typer

from polyglotctl.bench.request import Crowd, Ingest, Load, Profile, Server, Words
from polyglotctl.options import OutputOption
from polyglotctl.render import Output

app = typer.Typer(name="bench", help="Put load on a server and measure what comes of it.", no_args_is_help=True)

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="ws://…", help="The socket; else POLYGLOT_URL's, else here.", show_default=False),
]
App = Annotated[
    str | None,
    typer.Option("--app", metavar="APP", help="Load this app, within its limits; else one that is made for the run."),
]
Kind = Annotated[str, typer.Option("--kind", help="Of the channels.")]
ProfileOption = Annotated[
    Profile, typer.Option("--profile", help="phoenix: any Phoenix 2.0.0 server, with --event and --payload.")
]
Event = Annotated[str, typer.Option("--event", help="phoenix: the event to push.")]
Broadcast = Annotated[
    str | None,
    typer.Option("--broadcast", help="phoenix: the event that members get; '' for none.", show_default="--event"),
]
Payload = Annotated[
    str, typer.Option("--payload", metavar="JSON", help="phoenix: what to push; $STAMP in it is a text of 29 bytes.")
]
Token = Annotated[str, typer.Option("--token", help="For every connection, instead of signed ones.")]
Secret = Annotated[str, typer.Option("--secret", help="Sign tokens for --app with it (HS256).")]
Pid = Annotated[
    list[int] | None,
    typer.Option("--pid", help="A process of the server to measure. Repeat it.", show_default="the daemon's"),
]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help="How long to measure.")]
WarmUp = Annotated[float, typer.Option("--warm-up", min=0.0, help="Seconds before that.")]
PayloadBytes = Annotated[int, typer.Option("--payload-bytes", min=31, max=1 << 20, help="Of an event's data.")]
InFlight = Annotated[int, typer.Option("--in-flight", min=1, max=1 << 16, help="Publishes under way in a channel.")]
Publishers = Annotated[int, typer.Option("--publishers", min=1, help="Members of a channel that publish.")]
Json = Annotated[bool, typer.Option("--json", help="The same as --output json.")]
Members = Annotated[int, typer.Option("--members", min=1, help="Connections to a channel.")]


def _output(output: Output | None, json: bool) -> Output | None:
    return Output.JSON if json else output


@app.command("fanout", epilog="Example: polyglotctl bench fanout --members 100 --in-flight 16")
def fanout(
    members: Members = 100,
    in_flight: InFlight = 16,
    publishers: Publishers = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Publishes a second, instead of --in-flight.")
    ] = None,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 1.0,
    payload_bytes: PayloadBytes = 64,
    kind: Kind = "room",
    url: Url = None,
    app_id: App = None,
    profile: ProfileOption = Profile.POLYGLOT,
    event: Event = "publish",
    broadcast: Broadcast = None,
    payload: Payload = '{"data":"$STAMP"}',
    token: Token = "",
    secret: Secret = "",
    pid: Pid = None,
    output: OutputOption = None,
    json_: Json = False,
) -> None:
    """One channel, many members: how fast do its events reach all of them?"""
    from polyglotctl.bench.commands_run import run_load

    server = Server(url=url, app_id=app_id, profile=profile, token=token, secret=secret, pids=pid)
    words = Words(kind=kind, event=event, broadcast=broadcast, payload=payload, payload_bytes=payload_bytes)
    load = Load(
        rooms=1,
        members=members,
        in_flight=in_flight,
        publishers=publishers,
        rate=rate,
        seconds=seconds,
        warm_up=warm_up,
    )
    run_load(_output(output, json_), server, words, load)


@app.command("rooms", epilog="Example: polyglotctl bench rooms --rooms 200 --members 10 --rate 10000")
def rooms(
    rooms_: Annotated[int, typer.Option("--rooms", min=1, help="Channels.")] = 200,
    members: Members = 10,
    in_flight: InFlight = 1,
    publishers: Publishers = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Deliveries a second in all, instead of --in-flight.")
    ] = None,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 1.0,
    payload_bytes: PayloadBytes = 64,
    kind: Kind = "room",
    url: Url = None,
    app_id: App = None,
    profile: ProfileOption = Profile.POLYGLOT,
    event: Event = "publish",
    broadcast: Broadcast = None,
    payload: Payload = '{"data":"$STAMP"}',
    token: Token = "",
    secret: Secret = "",
    pid: Pid = None,
    output: OutputOption = None,
    json_: Json = False,
) -> None:
    """Many channels with a few members each, in a closed loop, or at a rate to see latencies."""
    from polyglotctl.bench.commands_run import run_load

    server = Server(url=url, app_id=app_id, profile=profile, token=token, secret=secret, pids=pid)
    words = Words(kind=kind, event=event, broadcast=broadcast, payload=payload, payload_bytes=payload_bytes)
    load = Load(
        rooms=rooms_,
        members=members,
        in_flight=in_flight,
        publishers=publishers,
        rate=None if rate is None else rate / members,
        seconds=seconds,
        warm_up=warm_up,
    )
    run_load(_output(output, json_), server, words, load)


@app.command("echo", epilog="Example: polyglotctl bench echo --connections 50")
def echo(
    connections: Annotated[int, typer.Option("--connections", min=1, help="Each in a channel of its own.")] = 50,
    in_flight: InFlight = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Publishes a second in all, instead of --in-flight.")
    ] = None,
    self_: Annotated[bool, typer.Option("--self/--no-self", help="Publishers get their own events too.")] = True,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 1.0,
    payload_bytes: PayloadBytes = 64,
    kind: Kind = "room",
    url: Url = None,
    app_id: App = None,
    profile: ProfileOption = Profile.POLYGLOT,
    event: Event = "publish",
    broadcast: Broadcast = None,
    payload: Payload = '{"data":"$STAMP"}',
    token: Token = "",
    secret: Secret = "",
    pid: Pid = None,
    output: OutputOption = None,
    json_: Json = False,
) -> None:
    """Publish and wait for the acknowledgement, on every connection by itself."""
    from polyglotctl.bench.commands_run import run_load

    server = Server(url=url, app_id=app_id, profile=profile, token=token, secret=secret, pids=pid)
    words = Words(
        kind=kind, event=event, broadcast=broadcast, payload=payload, payload_bytes=payload_bytes, own_events=self_
    )
    load = Load(
        rooms=connections, members=1, in_flight=in_flight, publishers=1, rate=rate, seconds=seconds, warm_up=warm_up
    )
    run_load(_output(output, json_), server, words, load)


@app.command("connect", epilog="Example: polyglotctl bench connect --connections 10000 --kind ticker --hold 60")
def connect(
    connections: Annotated[int, typer.Option("--connections", min=1, help="To open; they stay open.")] = 1000,
    members: Members = 10,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Handshakes under way at once.")] = 64,
    hold: Annotated[
        float, typer.Option("--hold", min=0.0, help="Seconds to leave them idle, with heartbeats, and measure.")
    ] = 0.0,
    heartbeat: Annotated[float, typer.Option("--heartbeat", min=0.1, help="Seconds between a client's.")] = 30.0,
    kind: Kind = "room",
    url: Url = None,
    app_id: App = None,
    profile: ProfileOption = Profile.POLYGLOT,
    token: Token = "",
    secret: Secret = "",
    pid: Pid = None,
    output: OutputOption = None,
    json_: Json = False,
) -> None:
    """Connect and join, each with a fresh token: how fast, at what cost, and how much memory each one takes."""
    from polyglotctl.bench.commands_run import run_connects

    server = Server(url=url, app_id=app_id, profile=profile, token=token, secret=secret, pids=pid)
    crowd = Crowd(
        connections=connections, members=members, concurrency=concurrency, hold_s=hold, heartbeat_s=heartbeat
    )
    run_connects(_output(output, json_), server, Words(kind=kind), crowd)


@app.command("ingest", epilog="Example: polyglotctl bench ingest --app shop --events 100000 --rate 5000")
def ingest(
    events: Annotated[int, typer.Option("--events", min=1, help="To publish.")] = 100_000,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1000, help="Events in a call.")] = 500,
    channels: Annotated[
        int, typer.Option("--channels", min=1, max=100_000, help="To publish in, by turns: KIND:bench-ingest-N.")
    ] = 100,
    data_bytes: Annotated[int, typer.Option("--data-bytes", min=2, max=1 << 20, help="Of an event's data.")] = 64,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Events a second; else as fast as they are taken.")
    ] = None,
    connections: Annotated[int, typer.Option("--connections", min=1, max=64, help="That publish.")] = 2,
    within: Annotated[
        float, typer.Option("--within", min=0.1, help="Seconds after the last event for every stage to have all.")
    ] = 60.0,
    kind: Kind = "room",
    app_id: Annotated[
        str | None,
        typer.Option(
            "--app",
            envvar="POLYGLOT_APP",
            metavar="APP",
            help="Publish in this app, within its limits; else in one that is made for the run.",
        ),
    ] = None,
    pid: Pid = None,
    output: OutputOption = None,
    json_: Json = False,
) -> None:
    """Publish events over the HTTP API: how fast do they reach the store, the analytics, the webhooks' queue?"""
    from polyglotctl.bench.ingest_run import run_ingest

    asked = Ingest(
        app_id=app_id,
        kind=kind,
        events=events,
        batch=batch,
        channels=channels,
        data_bytes=data_bytes,
        rate=rate,
        connections=connections,
        within_s=within,
        pids=pid,
    )
    run_ingest(_output(output, json_), asked)
