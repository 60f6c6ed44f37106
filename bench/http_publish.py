"""HTTP publish beside an empty endpoint on the same server, and batches beside single publishes.

Promised: at least 60 % of the empty endpoint's requests a second; with 1,000 events a request at least 20 times the
events a second of single publishes.
"""

from statistics import median

from bench.daemon import as_json, empty_endpoint, polyglotd
from bench.http_load import Load, post
from polyglotctl.bench.cpu_time import busy, others_busy

CONNECTIONS = 32
BATCH_CONNECTIONS = 4
BATCH_EVENTS = 1000
ROUNDS = 5
QUOTA = {"api_publishes": 1_000_000_000}
EVENT = {"type": "message", "data": {"text": "x" * 64}}
SINGLE = as_json(EVENT)
BATCH = as_json({"events": [{"channel": f"room:{number % 10}", **EVENT} for number in range(BATCH_EVENTS)]})


def run(*, long: bool) -> bool:
    """Measure, print, and say whether both promises hold."""
    seconds = 10.0 if long else 3.0
    with empty_endpoint() as empty, polyglotd(quota=QUOTA) as daemon:
        before = busy([empty.pid, daemon.pid])
        rounds: list[tuple[float, float, float]] = []
        for _ in range(ROUNDS):
            floor = post(empty.host, empty.port, "/", SINGLE, connections=CONNECTIONS, seconds=seconds)
            path = "/apps/chat-app/channels/room:bench/publish"
            single = post(daemon.host, daemon.port, path, SINGLE, connections=CONNECTIONS, seconds=seconds)
            path = "/apps/chat-app/publish"
            batch = post(daemon.host, daemon.port, path, BATCH, connections=BATCH_CONNECTIONS, seconds=seconds)
            for load in (floor, single, batch):
                _check(load)
            rounds.append((floor.per_second, single.per_second, batch.per_second * BATCH_EVENTS))
        after = busy([empty.pid, daemon.pid])
    floor_rate, single_rate, batch_rate = (median(column) for column in zip(*rounds, strict=True))
    share = median(single / floor for floor, single, _ in rounds)
    gain = median(batch / single for _, single, batch in rounds)
    print(f"http_publish: {ROUNDS} interleaved rounds of {seconds:.0f} s, medians")
    rows = (
        (f"empty endpoint, {CONNECTIONS} connections", f"{floor_rate:,.0f} requests/s", ""),
        (f"publish, {CONNECTIONS} connections", f"{single_rate:,.0f} requests/s", f"{share:.2f} x the empty one"),
        (
            f"{BATCH_EVENTS} events each, {BATCH_CONNECTIONS} connections",
            f"{batch_rate:,.0f} events/s",
            f"{gain:.1f} x",
        ),
    )
    for what, rate, ratio in rows:
        print(f"  {what:<32}{rate:>20}   {ratio}")
    spread = [f"{single / floor:.2f}" for floor, single, _ in rounds]
    print(f"  shares of the rounds: {' '.join(spread)}; others kept {others_busy(before, after):.2f} cores busy")
    return share >= 0.6 and gain >= 20


def _check(load: Load) -> None:
    if set(load.statuses) != {200}:
        raise SystemExit(f"not every request was answered with 200: {load.statuses}")
