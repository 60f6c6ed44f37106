"""The work behind `polyglotctl bench`: get the right to connect, make a plan, run it, show what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from polyglotctl.bench import figures
from polyglotctl.bench.bench_app import BenchApp, bench_app
from polyglotctl.bench.plan import (
    Connect,
    Connected,
    Dialect,
    Idle,
    Plan,
    Publish,
    Published,
    Result,
    Step,
    Target,
)
from polyglotctl.bench.processes import listener_of
from polyglotctl.bench.progress_bar import shown_progress
from polyglotctl.bench.request import Crowd, Load, Profile, Server, Words
from polyglotctl.bench.runner import BenchFailed, run_plan
from polyglotctl.bench.web_address import web_address
from polyglotctl.failure import WrongUsage
from polyglotctl.render import Output
from polyglotctl.session import Session

PUBLIC_KINDS = ("room", "match", "post")  # where by default every user of the app may publish


def run_load(output: Output | None, server: Server, words: Words, load: Load) -> None:
    """Publish as `load` says. Raises `BenchFailed`, after the figures, where the server broke a promise."""
    session = Session(output)
    steps = (
        Connect(rooms=load.rooms, members=load.members),
        Publish(
            in_flight=0 if load.rate else load.in_flight,
            publishers=load.publishers,
            rate=load.rate or 0.0,
            seconds=load.seconds,
            warm_up_s=load.warm_up,
        ),
    )
    with _target(session, server, words) as (target, overflow):
        result = _run(Plan(target=target, steps=steps))[-1]
    assert isinstance(result, Published)
    asked: dict[str, object] = {"channels": load.rooms, "members": load.members, "kind": words.kind}
    asked |= {"publishes_per_s": load.rate} if load.rate else {"in_flight": load.in_flight}
    session.show({"load": asked} | figures.traffic(result, len(target.processes)))
    if broken := figures.broken_promises(result, may_skip=overflow != "queue"):
        raise BenchFailed(f"the server did not keep its promises: {broken}.")


def run_connects(output: Output | None, server: Server, words: Words, crowd: Crowd) -> None:
    """Connect and join, and leave the connections idle where asked to."""
    session = Session(output)
    members = min(crowd.members, crowd.connections)
    rooms = crowd.connections // members
    steps: tuple[Step, ...] = (Connect(rooms=rooms, members=members, concurrency=crowd.concurrency),)
    if crowd.hold_s:
        steps += (Idle(seconds=crowd.hold_s, heartbeat_s=crowd.heartbeat_s),)
    with _target(session, server, words) as (target, _):
        results = _run(Plan(target=target, steps=steps))
    shown: dict[str, object] = {"load": {"channels": rooms, "members": members, "kind": words.kind}}
    for result in results:
        if isinstance(result, Connected):
            shown["connect"] = figures.connects(result, len(target.processes))
        elif not isinstance(result, Published):
            shown["idle"] = figures.idle(result, len(target.processes))
    session.show(shown)


def _run(plan: Plan) -> list[Result]:
    with shown_progress(plan) as show:
        return run_plan(plan, show)


@contextmanager
def _target(session: Session, server: Server, words: Words) -> Iterator[tuple[Target, str]]:
    """The server, and the kind's overflow policy; good as long as the block lasts: what was made for the run goes."""
    if server.secret and not server.app_id:
        raise WrongUsage("--secret signs tokens for an app: name it with --app.")
    pids = tuple(server.pids or _daemon_of(session))
    if server.profile is Profile.PHOENIX or server.token or server.secret:
        yield _words_for(server, words, BenchApp(server.app_id or "", server.secret), pids), "queue"
    else:
        with session.http() as client, bench_app(client, server.app_id) as made:
            yield _words_for(server, words, made, pids), made.overflow(client, words.kind)


def _daemon_of(session: Session) -> list[int]:
    pid = None if session.server.socket is None else listener_of(session.server.socket)
    return [] if pid is None else [pid]


def _words_for(server: Server, words: Words, app: BenchApp, pids: "tuple[int, ...]") -> Target:
    address = web_address(server.url)
    own = words.own_events
    if server.profile is Profile.PHOENIX:
        broadcast = words.event if words.broadcast is None else words.broadcast
        return Target(
            address=address.address,
            port=address.port,
            host=address.host,
            request=address.request,
            dialect=Dialect.PHOENIX,
            token=server.token,
            secret=server.secret,
            app_id=app.app_id,
            topic_prefix=f"{words.kind}:bench-",
            event=words.event,
            broadcast_event=broadcast if own else "",
            payload=words.payload,
            processes=pids,
        )
    return polyglot_target(
        address.address, address.port, app, kind=words.kind, host=address.host, request=address.request,
        token=server.token, payload_bytes=words.payload_bytes, own_events=own, processes=pids,
    )  # fmt: skip


def polyglot_target(
    address: str,
    port: int,
    app: BenchApp,
    *,
    kind: str = "room",
    host: str | None = None,
    request: str = "/socket/websocket?vsn=2.0.0",
    token: str = "",
    payload_bytes: int = 64,
    own_events: bool = True,
    processes: "tuple[int, ...]" = (),
) -> Target:
    """A server of ours. Tokens name what they may do only where the kind's policy would not let everybody."""
    claims = "" if kind in PUBLIC_KINDS else f',"channels":{{"{kind}:*":["join","publish"]}}'
    return Target(
        address=address,
        port=port,
        host=host or f"{address}:{port}",
        request=f"{request}&app_id={app.app_id}" if "app_id=" not in request else request,
        token=token,
        secret="" if token else app.secret,
        app_id=app.app_id,
        claims=claims,
        topic_prefix=f"{kind}:bench-",
        join_payload="{}" if own_events else '{"self":false}',
        broadcast_event="event" if own_events else "",
        payload_bytes=payload_bytes,
        processes=processes,
    )
