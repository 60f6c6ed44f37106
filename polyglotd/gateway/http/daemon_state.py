"""How the daemon is: probes, health, metrics."""

from collections.abc import Mapping

import trio

from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import credentials, is_operator, require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.daemon_shapes import HealthView, ProcessorView, StageView, Status
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.release import release
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.requests import Health
from polyglotd.processor.report import ProcessorReport

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def alive(edge: Edge, call: Call) -> Answer:  # noqa: ARG001  an endpoint's signature
    """Answers as long as the event loop turns: what asks nothing of others can't fail with them."""
    return json_answer(Status(status="alive"))


async def ready(edge: Edge, call: Call) -> Answer:  # noqa: ARG001
    state = edge.gateway.health()
    if state.ready:
        return json_answer(Status(status="ready"))
    return json_answer(Status(status="draining" if state.draining else "unready"), 503)


async def health(edge: Edge, call: Call) -> Answer:
    state = edge.gateway.health()
    processor = edge.processor()
    checks = state.checks | _processor_checked(processor)
    status, code = _status(state, checks)
    if credentials(call).absent and not call.from_operator_socket:
        return json_answer(HealthView(status=status), code)
    if not await is_operator(edge, call):
        return json_answer(HealthView(status=status), code)
    view = HealthView(
        status=status,
        version=release(),
        plane=state.plane,
        plane_why=edge.plane_why,
        io_threads=edge.io_threads,
        parts=dict(edge.parts),
        checks=checks,
        connections=state.connections,
        subscriptions=state.subscriptions,
        channels=state.topics,
        log_end=state.log_end,
        processor=None if processor is None else _processor_view(processor),
    )
    return json_answer(view, code)


def _processor_checked(processor: ProcessorReport | None) -> dict[str, str]:
    """A stage that can't go on makes no gateway unready: events wait for it in the log."""
    if processor is None:
        return {}
    stages = {} if processor.health is None else processor.health.stages
    return {"processor": processor.problem or "ok"} | {
        f"processor: {name}": "ok" if stage.waiting_for is None else f"waits: {stage.waiting_for}"
        for name, stage in stages.items()
    }


def _processor_view(processor: ProcessorReport) -> ProcessorView:
    return ProcessorView(
        process=processor.where,
        pid=processor.pid,
        restarts=processor.restarts_total,
        stages={
            name: StageView(
                position=stage.position,
                lag_events=stage.lag_events,
                lag_bytes=stage.lag_bytes,
                lag_s=round(stage.lag_s, 3),
                waiting_for=stage.waiting_for,
                set_aside=stage.set_aside_total,
                failures=stage.failures_total,
            )
            for name, stage in ({} if processor.health is None else processor.health.stages).items()
        },
    )


def _status(state: Health, checks: Mapping[str, str]) -> tuple[str, int]:
    if state.draining:
        return "draining", 503
    if any(check != "ok" for check in checks.values()):
        return "degraded", 200 if state.ready else 503
    return ("ok", 200) if state.ready else ("starting", 503)


async def metrics(edge: Edge, call: Call) -> Answer:
    if not edge.metrics_public:
        await require_operator(edge, call)
    text = await trio.to_thread.run_sync(edge.metrics, limiter=_one_at_a_time())
    return Answer(200, text, (("content-type", METRICS_TYPE), ("cache-control", "no-store")))


_limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]("polyglot metrics limiter")


def _one_at_a_time() -> trio.CapacityLimiter:
    """Collecting is the same work for everyone who asks; many at once would only be slower."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(1)
        _limiter.set(limiter)
        return limiter


ROUTES = [
    Route("GET", "/alive", alive, Doc(tag="daemon", summary="Is the process alive?", needs="nothing", answer=Status)),
    Route(
        "GET",
        "/ready",
        ready,
        Doc(
            tag="daemon", summary="Are new clients welcome?", needs="nothing", answer=Status,
            about="503, with the same shape, while it starts or drains.",
        ),
    ),
    Route(
        "GET",
        "/health",
        health,
        Doc(
            tag="daemon", summary="How the daemon is", needs="nothing", answer=HealthView,
            about="Operators see details. 503, with the same shape, where it can't serve.",
        ),
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        Doc(
            tag="daemon", summary="Prometheus' metrics", needs="operator", answer_type="text/plain",
            about="For everyone where `[metrics] public = true`.",
        ),
    ),
]  # fmt: skip
