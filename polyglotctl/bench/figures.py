"""Results as figures for people and scripts: rates, microseconds, CPU for each piece of work; rounded, nested."""

from collections.abc import Iterable

from polyglotctl.bench.plan import Connected, Idled, Latency, Memory, Published, Usage

Figures = dict[str, object]

FAULTS = ("lost", "duplicates", "out_of_order", "foreign", "refused", "unsent", "unanswered", "closed")
# What a server must never do, whatever the load; the others depend on what was asked of it.
BROKEN_PROMISES = ("lost", "duplicates", "out_of_order", "foreign", "unanswered")


def traffic(result: Published, processes: int) -> Figures:
    """Of a fan-out, rooms or an echo. `processes` are the server's own, of those that were measured."""
    usage = result.usage
    work = result.delivered or result.acknowledged
    cpu = server_cpu_s(usage, processes)
    return {
        "seconds": round(usage.seconds, 3),
        "published_per_s": _rate(result.published, usage),
        "acknowledged_per_s": _rate(result.acknowledged, usage),
        "delivered_per_s": _rate(result.delivered, usage),
        "delivery_us": latency(result.delivery),
        "acknowledgement_us": latency(result.acknowledgement),
        "faults": {name: getattr(result, name) for name in FAULTS}
        | ({"reasons": result.reasons} if result.reasons else {}),
        "frame_bytes": {
            "publish": result.publish_bytes,
            "event": result.event_bytes,
            "acknowledgement": result.acknowledgement_bytes,
        },
        "server_cpu": {
            "s_per_million_deliveries": _each(cpu, result.delivered, 1e6),
            "us_per_publish": _each(cpu, result.published, 1e6),
        }
        if cpu is not None and work
        else None,
        "server_memory": memory(result.memory_after[:processes]),
        **machine(usage, processes),
    }


def connects(result: Connected, processes: int) -> Figures:
    """Of connecting and joining."""
    cpu = server_cpu_s(result.usage, processes)
    before, after = result.memory_before[:processes], result.memory_after[:processes]
    return {
        "seconds": round(result.seconds, 3),
        "joined": result.joined,
        "joined_per_s": round(result.joined / result.seconds, 1) if result.seconds else 0.0,
        "throttled": result.throttled,
        "connect_and_join_us": latency(result.latency),
        "server_cpu": {"us_per_join": _each(cpu, result.joined, 1e6)} if cpu is not None else None,
        "server_memory": memory(after),
        "server_memory_per_connection": growth(before, after, result.joined),
        **machine(result.usage, processes),
    }


def idle(result: Idled, processes: int) -> Figures:
    """Of connections that do nothing but send heartbeats."""
    cpu = server_cpu_s(result.usage, processes)
    return {
        "seconds": round(result.usage.seconds, 3),
        "heartbeats": result.heartbeats,
        "answered": result.answered,
        "server_percent_of_a_core": None if cpu is None else round(100 * cpu / result.usage.seconds, 3),
        "server_memory": memory(result.memory_after[:processes]),
        **machine(result.usage, processes),
    }


def machine(usage: Usage, processes: int) -> Figures:
    """How many cores were busy, and with what."""
    cpu = server_cpu_s(usage, processes)
    return {
        "busy_cores": {
            "server": None if cpu is None else round(cpu / usage.seconds, 3),
            "generator": round(usage.generator_cpu_s / usage.seconds, 3),
            "others": round((usage.others_cpu_s + sum(usage.processes_cpu_s[processes:])) / usage.seconds, 3),
        }
    }


def latency(found: Latency) -> Figures | None:
    """None where nothing was measured."""
    if not found.count:
        return None
    parts = {
        "p50": found.p50_ns,
        "p90": found.p90_ns,
        "p99": found.p99_ns,
        "p99_9": found.p999_ns,
        "max": found.max_ns,
    }
    return {name: round(value / 1000, 1) for name, value in parts.items()}


def memory(processes: Iterable[Memory]) -> Figures | None:
    """Of the server's processes together."""
    found = [one for one in processes if one.rss_bytes]
    if not found:
        return None
    return {
        "rss_bytes": sum(one.rss_bytes for one in found),
        "private_bytes": sum(one.private_bytes for one in found),
    }


def growth(before: "list[Memory]", after: "list[Memory]", connections: int) -> Figures | None:
    """For each connection, in bytes."""
    if not connections or not any(one.rss_bytes for one in before):
        return None
    return {
        name: round(
            sum(getattr(b, name) - getattr(a, name) for a, b in zip(before, after, strict=True)) / connections
        )
        for name in ("rss_bytes", "private_bytes")
    }


def server_cpu_s(usage: Usage, processes: int) -> float | None:
    """CPU seconds of the server's own processes; None where none is known."""
    return sum(usage.processes_cpu_s[:processes]) if processes else None


def broken_promises(result: Published, *, may_skip: bool = False) -> str:
    """What must never happen and did, in words; empty where all is well. `may_skip`: of a kind that leaves out events
    which a slow member can't take."""
    names = [name for name in BROKEN_PROMISES if not (may_skip and name == "lost")]
    return ", ".join(f"{getattr(result, name)} {name.replace('_', ' ')}" for name in names if getattr(result, name))


def _rate(count: int, usage: Usage) -> float:
    return round(count / usage.seconds, 1)


def _each(cpu_s: float | None, count: int, scale: float) -> float | None:
    return round(cpu_s / count * scale, 4) if cpu_s is not None and count else None
