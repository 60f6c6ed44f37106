"""An app to put load on: one made for the run and deleted after it, or a given one with a signing secret of the run.

The made one has limits that no run reaches; a given one keeps its own, and so shows what its users would meet.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from polyglotctl.api_path import segment
from polyglotctl.http_client import HttpClient
from polyglotctl.session import Session

UNLIMITED = 1_000_000_000
LIMITED = (
    "connections",
    "connects_per_second",
    "channels_per_connection",
    "joins_per_second",
    "publishes_per_connection",
    "publishes_per_app",
    "api_publishes",
    "channels",
)
LIMITS = dict.fromkeys(LIMITED, UNLIMITED)


@dataclass(frozen=True)
class BenchApp:
    """What tokens are signed for, and with."""

    app_id: str
    secret: str

    def overflow(self, session: Session, kind: str) -> str:
        """What becomes of a kind's events that a slow member can't take."""
        policy = session.call("GET", f"/admin/apps/{segment(self.app_id)}/kinds/{segment(kind)}")
        return str(policy["overflow"])


@contextmanager
def bench_app(session: Session, app_id: str | None, limits: "dict[str, int] | None" = None) -> Iterator[BenchApp]:
    """`limits`: of an app that is made, beside the unlimited ones."""
    with session.http() as client:
        if app_id is None:
            made = f"bench-{secrets.token_hex(4)}"
            answer = client.call("POST", "/admin/apps", {"app_id": made, "name": "polyglotctl bench"})
            try:
                client.call("PATCH", f"/admin/apps/{made}/quota", LIMITS | (limits or {}))
                yield BenchApp(made, _material(answer["signing_secret"]))
            finally:
                client.call("DELETE", f"/admin/apps/{made}")
        else:
            path = f"/admin/apps/{segment(app_id)}/secrets"
            answer = client.call("POST", path, {})
            try:
                yield BenchApp(app_id, _material(answer))
            finally:
                _revoke(client, path, answer)


def _material(answer: "dict[str, object]") -> str:
    return str(answer["secret"])


def _revoke(client: HttpClient, path: str, answer: "dict[str, object]") -> None:
    client.call("DELETE", f"{path}/{segment(str(answer['secret_id']))}")
