"""Refusals that only HTTP has: of heads, bodies and deadlines. They are codes of the contract with other statuses."""

from dataclasses import dataclass

from polyglotd.model import Malformed, PayloadTooLarge


@dataclass(eq=False)
class BodyTimeout(Malformed):
    """The rest of the request did not come in time."""

    http_status = 408


@dataclass(eq=False)
class AmbiguousBody(Malformed):
    """Two opinions on where the body ends; what follows it may be the next request, or not."""


@dataclass(eq=False)
class HeadTooLarge(PayloadTooLarge):
    """The request's head has more than `limit` bytes."""

    http_status = 431


@dataclass(eq=False)
class UnknownVersion(Malformed):
    """An HTTP version that is not spoken here."""

    http_status = 505


@dataclass(eq=False)
class UpgradeRequired(Malformed):
    """A path that is a WebSocket's, asked for as a page."""

    http_status = 426


class PeerGone(Exception):
    """The client went away in the middle; there is nobody to answer."""


# After these the rest of the request is not waited for, so nothing that follows on the connection can be read.
CLOSING_STATUSES = frozenset((408, 413, 431, 505))
