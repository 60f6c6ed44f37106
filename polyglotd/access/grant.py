"""What a verified user token says: who the user is, and what it may do where.

Made by `user_tokens` (and `dev_mode`), kept by the gateway for as long as the connection lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from polyglotd.model import Capability


@dataclass(frozen=True, slots=True)
class UserGrant:
    """A user of an app, as one token describes it. Times are µs since 1970.

    `capabilities`: None where the token has no `channels`, so that the kind's policy decides; else the limit of what
    the token allows, by pattern. `exp_us` is the claim itself: verification adds the leeway, and so does whoever
    ends a connection when its token runs out.
    """

    user_id: str
    app_id: str
    capabilities: Mapping[str, frozenset[Capability]] | None
    info: bytes | None  # a JSON object without needless white space, numbers as they were written
    jti: str | None
    iat_us: int
    exp_us: int
    secret_id: str
