"""The work behind `polyglotctl bench ingest`: publish, watch the stages until they have all, say what came of it."""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from polyglotctl.api_path import segment
from polyglotctl.bench.bench_app import bench_app
from polyglotctl.bench.cpu_time import Busy, busy, others_busy
from polyglotctl.bench.ingest_publisher import USER, Publisher
from polyglotctl.bench.processes import listener_of
from polyglotctl.bench.request import Ingest
from polyglotctl.bench.runner import BenchFailed
from polyglotctl.bench.stage_watch import StageWatch
from polyglotctl.failure import WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.long_work import saying_how_to_go_on, shown_progress
from polyglotctl.printable import printable
from polyglotctl.render import Output
from polyglotctl.session import Session

LOOK_EVERY_S = 0.1
BODY_BYTES_MAX = 8 << 20  # of a batch; the contract's
ENVELOPE_BYTES = 160  # of an event, about: its channel and type


def run_ingest(output: Output | None, asked: Ingest) -> None:
    """Raises `BenchFailed`, after the figures, where events were refused or a stage does not get on."""
    if asked.batch * (asked.data_bytes + ENVELOPE_BYTES) > BODY_BYTES_MAX:
        raise WrongUsage("--batch of --data-bytes is more than the 8 MiB that the server takes at once.")
    session = Session(output)
    with session.http() as client, _app(client, asked) as (app_id, erase):
        _check_kind(client, app_id, asked.kind)
        watch = StageWatch(client)
        publisher = Publisher(session, app_id, asked)
        pids = _processes(session, watch, asked)
        with saying_how_to_go_on(lambda: f"{erase} removes what was published." if erase else ""):
            before, begin = _busy(pids), time.monotonic()
            _publish(publisher, watch, asked)
            published = time.monotonic()
            _catch_up(watch, asked.within_s)
            after = _busy(pids)
    sent = publisher.sent
    session.show(
        {
            "load": {
                "app_id": app_id, "kind": asked.kind, "channels": asked.channels, "events": asked.events,
                "batch": asked.batch, "data_bytes": asked.data_bytes, "connections": asked.connections,
            } | ({"events_per_s": asked.rate} if asked.rate else {}),
            "seconds": round(published - begin, 3),
            "admitted": sent.admitted,
            "admitted_per_s": _rate(sent.admitted, begin, published),
            "stored_per_s": _rate(sent.admitted, begin, watch.stages["store"].done_at),
            "held_back": dict(sent.held_back),
            "refused": dict(sent.refused),
            "stages": {
                name: {
                    "had_all_after_s": _since(begin, stage.done_at),
                    "behind_the_last_event_s": _since(published, stage.done_at),
                    "lag_events_max": stage.lag_events_max,
                    "lag_s_max": stage.lag_s_max,
                }
                for name, stage in watch.stages.items()
            },
            "busy_cores": _busy_cores(before, after),
            "erase_with": erase or None,
        }
    )  # fmt: skip
    if sent.refused:
        hint = f" `polyglotctl quota show {app_id}` says what it has." if "quota_exceeded" in sent.refused else ""
        raise BenchFailed(f"{sum(sent.refused.values())} events were refused: {printable(sent.words)}.{hint}")
    if not watch.done:
        said = ", ".join(
            name + (f" (it waits for {printable(why)})" if (why := watch.stages[name].waiting_for) else "")
            for name in watch.unfinished
        )
        raise BenchFailed(f"{asked.within_s:g} s after the last event these stages do not have all: {said}.")


@contextmanager
def _app(client: HttpClient, asked: Ingest) -> "Iterator[tuple[str, str]]":
    """Where to publish, and the command that erases it; none for an app that is made for the run, and goes after."""
    if asked.app_id is None:
        with bench_app(client, None, {"payload_bytes": asked.data_bytes}) as made:
            yield made.app_id, ""
        return
    hooks = client.call("GET", f"/admin/apps/{segment(asked.app_id)}/webhooks")["webhooks"]
    if any(hook["enabled"] for hook in hooks):
        print(
            f"polyglotctl: {asked.app_id} has webhooks: those that want this kind's events get these too.",
            file=sys.stderr,
        )
    yield asked.app_id, f"polyglotctl event erase {asked.app_id} --user {USER} --yes"


def _check_kind(client: HttpClient, app_id: str, kind: str) -> None:
    policy = client.call("GET", f"/admin/apps/{segment(app_id)}/kinds/{segment(kind)}")
    if policy["durability"] != "logged":
        raise WrongUsage(f"--kind {kind} is a memory kind: no store gets its events. room and post are logged.")


def _publish(publisher: Publisher, watch: StageWatch, asked: Ingest) -> None:
    """Until all is published. Raises what a connection raised."""
    with shown_progress("publishing", asked.events) as show, publisher.running(asked.connections) as connections:
        while not _ended(connections):
            watch.look()
            show(publisher.sent.admitted, publisher.sent.admitted)
            time.sleep(LOOK_EVERY_S)


def _ended(connections: "Sequence[Future[None]]") -> bool:
    done = [connection for connection in connections if connection.done()]
    for connection in done:
        connection.result()
    return len(done) == len(connections)


def _catch_up(watch: StageWatch, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    to_go = watch.aim()
    with shown_progress("catching up (bytes of the log)", to_go) as show:
        while True:
            watch.look()
            show(to_go - watch.bytes_to_go(), 0)
            if watch.done or time.monotonic() > deadline:
                return
            time.sleep(LOOK_EVERY_S)


# --- the machine ---


def _processes(session: Session, watch: StageWatch, asked: Ingest) -> "list[int]":
    """The daemon's, where they are on this machine."""
    if asked.pids:
        return asked.pids
    daemon = None if session.server.socket is None else listener_of(session.server.socket)
    return [] if daemon is None else sorted({daemon, watch.processor_pid or daemon})


def _busy(pids: "list[int]") -> "tuple[Busy, Busy | None]":
    """Without the server, and with it; None where it is not known, or was started again."""
    try:
        return busy([]), busy(pids) if pids else None
    except OSError:
        return busy([]), None


def _busy_cores(before: "tuple[Busy, Busy | None]", after: "tuple[Busy, Busy | None]") -> "dict[str, float | None]":
    """As in `figures.machine`."""
    (alone0, server0), (alone1, server1) = before, after
    elapsed = alone1.at - alone0.at
    generator = (alone1.ours - alone0.ours) / elapsed
    if server0 is None or server1 is None:
        return {
            "server": None,
            "generator": round(generator, 3),
            "others": round(others_busy(alone0, alone1), 3),
        }
    server = (server1.ours - server0.ours) / elapsed - generator
    return {
        "server": round(max(0.0, server), 3),
        "generator": round(generator, 3),
        "others": round(others_busy(server0, server1), 3),
    }


def _rate(count: int, begin: float, end: float | None) -> float | None:
    return None if end is None else round(count / (end - begin), 1)


def _since(begin: float, end: float | None) -> float | None:
    return None if end is None else round(max(0.0, end - begin), 3)
