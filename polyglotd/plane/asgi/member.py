"""A subscription that was admitted: how far it is, and what it may do.

Made by `admission` and moved on by it alone; read by a topic's fan-out.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyglotd.plane.asgi.connection import Connection
    from polyglotd.plane.asgi.topic import Topic


class Stage(Enum):
    JOINING = auto()  # its past is asked for; the join's reply waits for it
    CATCHING_UP = auto()  # joined; reads what it missed by its own cursor
    LIVE = auto()  # gets each event as it is published


@dataclass(slots=True, eq=False)
class Member:
    connection: "Connection"
    topic: "Topic"
    sub: int
    may_publish: bool
    sees_presence: bool
    echo: bool
    since: tuple[str, int] | None
    history: int | None
    stage: Stage = Stage.JOINING
    cursor: int = 0  # every event after it is still to come
    recovered: bool | None = None
    joined_seq: int = 0  # the topic's at the join
    asked: bool = False  # a NeedHistory waits for its Backfill
    own: set[int] = field(default_factory=set)  # seqs of its own, while catching up and not echoed
