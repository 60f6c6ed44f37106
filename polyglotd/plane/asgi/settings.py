"""What the Python plane is set to. Built by the composition root; the defaults are the product's.

All deadlines of sockets are here, so that one page shows how long a silent or slow peer can hold anything.
"""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """Times are seconds, sizes bytes."""

    host: str = "127.0.0.1"
    port: int = 4000
    backlog: int = 1024

    heads_waiting_max: int = 4096  # connections whose request head is not whole; beyond, the oldest is dropped
    head_bytes_max: int = 16 * KIB
    head_deadline_s: float = 10.0
    accept_deadline_s: float = 10.0  # for the gateway to decide on a handshake

    silence_s: float = 60.0  # Phoenix drops a WebSocket after as long; its client beats every 30 s
    close_s: float = 2.0  # to flush what is queued, and again for the peer's close frame
    send_progress_s: float = 30.0  # a socket that takes no byte for as long is gone

    send_buffer_bytes: int = 64 * KIB  # kernel auto-tuning would hide slow readers for megabytes each
    write_bytes_max: int = 64 * KIB  # coalesced into one call
    high_water_bytes: int = 512 * KIB  # a socket whose own answers pile up this high is not read

    records_unread_max: int = 50_000  # beyond, no socket is read until the gateway drained
    topic_idle_s: float = 60.0
    topic_sweep_s: float = 5.0
