"""Names of settings that belong to parts which this release does not have.

They are refused, not ignored: whoever sets `[redis] url` counts on a cluster.
"""

from collections.abc import Mapping

RESERVED_SECTIONS: Mapping[str, str] = {
    "redis": "this release has no cluster: it runs as one node, on its own log and store",
    "tls": "this release does not end TLS: put a proxy in front, and name it in [listen] trusted_proxies",
}
