"""An app to put load on: one made for the run and deleted after it, or a given one with a signing secret of the run.

The made one has limits that no run reaches; a given one keeps its own, and so shows what its users would meet.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from polyglotctl.api_path import segment
from polyglotctl.http_client import HttpClient

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

    def overflow(self, client: HttpClient, kind: str) -> str:
        """What becomes of a kind's events that a slow member can't take."""
        policy = client.call("GET", f"/admin/apps/{segment(self.app_id)}/kinds/{segment(kind)}")
        return str(policy["overflow"])


@contextmanager
def bench_app(client: HttpClient, app_id: str | None, limits: "dict[str, int] | None" = None) -> Iterator[BenchApp]:
    """`limits`: of an app that is made, where they are not to be out of reach."""
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
            client.call("DELETE", f"{path}/{segment(str(answer['secret_id']))}")


def _material(answer: "dict[str, object]") -> str:
    return str(answer["secret"])
