"""What the metrics say of deliveries, of all endpoints together; how each of them does, the admin API says.

`deliveries` fills them; they go with the processor's health, which may have to reach the gateway's process.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from polyglotd.processor.webhooks.lanes import LaneHealth


@dataclass(slots=True)
class DeliveryCounts:
    """Since the start of the process. A message that an endpoint did not take is tried again: it fails often, and is
    dead once."""

    sent_total: int = 0
    items_sent_total: int = 0
    failed_total: int = 0
    dead_total: int = 0


class DeliveriesHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`sent` and `dead` are messages, `failed` tries. `circuits_open`: endpoints that are only probed."""

    sent_total: int
    items_sent_total: int
    failed_total: int
    dead_total: int
    endpoints: int
    circuits_open: int
    lanes: Mapping[str, LaneHealth]
