"""What publishers sent and were told, what subscribers saw, and what the channels hold: compared. Pure.

Used by `test_kill_9`. An event is named as the contract names a publisher's own id: by channel, user and id. The
books are kept over all rounds of a run, so that a mistake of an early round shows in a late one too.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Name(NamedTuple):
    """One event, as its publisher knows it."""

    channel: str
    user: str | None  # of the publisher; None: an API key's own
    id: str


class Place(NamedTuple):
    """Where an event was put, as the publisher was told."""

    seq: int
    ts: str


@dataclass
class Ledger:
    sent: dict[Name, Any] = field(default_factory=dict)  # what was ever sent: its data
    acknowledged: dict[Name, Place] = field(default_factory=dict)
    unknown: set[Name] = field(default_factory=set)  # sent, and the answer never came
    refused: dict[Name, Any] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=dict)
    placed: dict[Name, Place] = field(default_factory=dict)  # as history has it
    order: defaultdict[str, list[Name]] = field(default_factory=lambda: defaultdict(list))  # by channel; seq 1 first
    round_names: list[Name] = field(default_factory=list)  # sent since the last restart

    # --- publishers

    def send(self, name: Name, data: Any) -> None:
        self.sent[name] = data
        self.unknown.add(name)
        self.round_names.append(name)

    def acknowledge(self, name: Name, place: Place, *, duplicate: bool) -> None:
        """Raises AssertionError where it contradicts what was told before."""
        assert not duplicate, f"{name} was never sent before, and is called a duplicate"
        assert name not in self.acknowledged
        self.unknown.discard(name)
        self.acknowledged[name] = place

    def refuse(self, name: Name, why: Any) -> None:
        self.unknown.discard(name)
        self.refused[name] = why

    # --- history

    def head(self, channel: str) -> int:
        """The newest seq that was read."""
        return len(self.order[channel])

    def take_page(self, channel: str, page: Any) -> None:
        """The next page of a channel's history: events in order, no gap, none that was there before."""
        epoch = self.epochs.setdefault(channel, page["epoch"])
        assert page["epoch"] == epoch, f"{channel} began another epoch"
        for event in page["events"]:
            name = Name(channel, event["meta"]["user_id"], event["id"])
            assert event["seq"] == self.head(channel) + 1, f"{channel}: a gap or a repeat before {event}"
            assert name not in self.placed, f"{name} is there twice: at {self.placed[name]} and {event['seq']}"
            assert name in self.sent, f"nobody sent {name}"
            assert event["data"] == self.sent[name], f"{name} holds other data than was sent"
            assert name not in self.refused, f"{name} was refused, and is there"
            self.placed[name] = Place(event["seq"], event["meta"]["ts"])
            self.order[channel].append(name)

    def check_acknowledged(self) -> None:
        """Every acknowledged event is where its publisher was told, exactly once."""
        for name, place in self.acknowledged.items():
            assert self.placed.get(name) == place, (
                f"{name}: acknowledged at {place}, found at {self.placed.get(name)}"
            )

    # --- repeats

    def to_repeat(self, rng: random.Random, most: int) -> list[Name]:
        """Of the last round: all whose answer never came, and some that were acknowledged."""
        unknown = [name for name in self.round_names if name in self.unknown]
        known = [name for name in self.round_names if name in self.acknowledged]
        self.round_names = []
        return unknown + rng.sample(known, min(most, len(known)))

    def repeated(self, name: Name, place: Place, *, duplicate: bool) -> None:
        """The answer to the same id once more, after a restart and after history was read."""
        if name in self.placed:
            assert duplicate, f"{name} is at {self.placed[name]}, and was stored once more at {place}"
            assert place == self.placed[name], f"{name}: first {self.placed[name]}, then {place}"
        else:
            assert not duplicate, f"{name} is nowhere, and is called a duplicate"
        self.unknown.discard(name)
        self.acknowledged[name] = place


@dataclass
class Seen:
    """What one subscriber saw of one channel, over all its connections."""

    channel: str
    first: int = 0  # the channel's seq when it first joined
    last: int = 0
    epoch: str = ""
    names: list[Name] = field(default_factory=list)

    def joined(self, reply: Any) -> None:
        if not self.epoch:
            self.epoch, self.first, self.last = reply["epoch"], reply["seq"], reply["seq"]
            assert "recovered" not in reply
            return
        assert reply["epoch"] == self.epoch, f"{self.channel} began another epoch"
        assert reply["recovered"] is True, f"{self.channel}: what was missed after {self.last} can't be had"
        for event in reply.get("events", []):
            self.event(event)

    def event(self, event: Any) -> None:
        assert event["seq"] == self.last + 1, f"{self.channel}: saw {event['seq']} after {self.last}"
        self.last = event["seq"]
        self.names.append(Name(self.channel, event["meta"]["user_id"], event["id"]))

    def check(self, ledger: Ledger) -> None:
        """Exactly what history has, from the first join on."""
        assert self.names == ledger.order[self.channel][self.first : self.last]
