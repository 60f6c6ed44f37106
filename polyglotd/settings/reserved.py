"""Names of settings that belong to parts which this release does not have.

They are refused, not ignored: whoever sets `[redis] url` counts on a cluster.
"""

from collections.abc import Mapping

RESERVED_SECTIONS: Mapping[str, str] = {
    "redis": "this release has no cluster: it runs as one node, on its own log and store",
    "tls": "this release does not end TLS: put a proxy in front, and name it in [listen] trusted_proxies",
}


def refused_store(url: str) -> str | None:
    """Why this `[store] url` can't be had, where it is one that a later release will know."""
    if url.startswith(("postgresql:", "postgres:")):
        return "this release has no PostgreSQL store; use sqlite:///PATH, or leave it out for DATA/events.db"
    return None
