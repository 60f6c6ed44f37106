"""The server's own latencies, publish to the last byte handed to the kernel, from `/metrics`.

Two readings give what happened between them: the load generator's own latencies hold its own waits for a core.
"""

import re
from collections.abc import Mapping

BUCKET = re.compile(r"^polyglot_\w*(?:latency|delivery)\w*_bucket\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')

Buckets = Mapping[float, float]  # upper bound in seconds: how many were at most that


def buckets(metrics: str, **labels: str) -> Buckets:
    """Those of one histogram; empty where the server has none."""
    found: dict[float, float] = {}
    for match in BUCKET.finditer(metrics):
        named = dict(LABEL.findall(match["labels"]))
        bound = float(named.pop("le"))
        if named == labels:
            found[bound] = float(match["count"])
    return found


def percentile_us(before: Buckets, after: Buckets, share: float) -> float | None:
    """Between two readings, within a bucket as if its values were spread evenly; None where there were none."""
    bounds = sorted(after)
    counts = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    if not counts or counts[-1] <= 0:
        return None
    wanted = share * counts[-1]
    lower_bound = lower_count = 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= wanted:
            if bound == float("inf"):
                return lower_bound * 1e6
            inside = (wanted - lower_count) / (count - lower_count) if count > lower_count else 1.0
            return (lower_bound + (bound - lower_bound) * inside) * 1e6
        lower_bound, lower_count = bound, count
    return lower_bound * 1e6
