"""Which past a joining member gets: resumed from where it was, the newest events, or none.

Called by the plane at each `Admit`, with the channel's place at that moment. The answer is one number: every event
after it goes to the member, in order, before anything newer. Where the events come from (window, log, store) and how
they are cut into pages is the caller's.
"""

from typing import NamedTuple

JOIN_EVENTS_MAX = 1000  # events in a join's reply; the rest follow as pushes
JOIN_BYTES_MAX = 1 << 20  # of envelopes in a join's reply, but at least one event
NOT_RECOVERED_EVENTS = 100  # the newest that come by default where resuming failed


class Recovered(NamedTuple):
    """Every event after this seq can be had, as far as `oldest` was known."""

    after: int


class NotRecovered(NamedTuple):
    """Something was missed for good."""

    why: str  # for logs: "epoch", "future" or "too_old"


class JoinPlan(NamedTuple):
    """`recovered` is what the reply says (None: no `since` was given, the field is absent)."""

    recovered: bool | None
    after: int  # the seq before the first event to send; the channel's seq where there is none


def decide(since: tuple[str, int], *, epoch: str, seq: int, oldest: int) -> Recovered | NotRecovered:
    """Whether a member that has seen `since` (epoch, seq) can be brought up to the channel's (epoch, seq).

    `oldest` is the oldest seq that history still allows (`Window.oldest`), seq + 1 where it allows none: who missed
    nothing needs no history.
    """
    since_epoch, since_seq = since
    if since_epoch != epoch:
        return NotRecovered("epoch")
    if since_seq > seq:
        return NotRecovered("future")
    if since_seq < 0 or since_seq + 1 < oldest:
        return NotRecovered("too_old")
    return Recovered(since_seq)


def plan_join(since: tuple[str, int] | None, history: int | None, *, epoch: str, seq: int, oldest: int) -> JoinPlan:
    """What a join gets. `since` wins over `history`, the newest n, which counts where resuming failed."""
    recovered: bool | None = None
    count = history or 0
    if since is not None:
        match decide(since, epoch=epoch, seq=seq, oldest=oldest):
            case Recovered(after):
                return JoinPlan(True, after)
            case NotRecovered():
                recovered = False
                count = NOT_RECOVERED_EVENTS if history is None else history
    return JoinPlan(recovered, min(seq, max(seq - count, oldest - 1, 0)))
