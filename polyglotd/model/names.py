"""Names that users choose: apps, channels, kinds, patterns, users, types, publishers' event ids.

Each `check_*` returns its argument when it is well formed and raises `Invalid` naming the field otherwise,
so that every door (socket, HTTP, CLI) refuses the same names with the same words.
"""

import functools
import re

from polyglotd.model.errors import Invalid

CHANNEL_BYTES_MAX = 200
USER_BYTES_MAX = 128

_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TYPE = re.compile(r"[A-Za-z0-9_\-.:/]{1,64}")
_CLIENT_EVENT_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_\-.:]{1,64}")
# Control characters (C0, DEL, C1, line and paragraph separators), surrogates, space and the pattern's star.
_NOT_IN_CHANNEL = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff*]")
_NOT_IN_USER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_app_id(app_id: str) -> str:
    if not _APP.fullmatch(app_id):
        raise Invalid("an app id is 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit", field="app_id")
    return app_id


def check_kind(kind: str) -> str:
    if not _KIND.fullmatch(kind):
        raise Invalid("a kind is 1 to 32 of a-z 0-9 _ -, beginning with a letter", field="kind")
    return kind


def kind_of(channel: str) -> str:
    """The text before the first colon. Only of a name that `check_channel` has passed."""
    return channel.partition(":")[0]


@functools.lru_cache(maxsize=4096)  # a batch names few channels many times
def check_channel(channel: str, field: str = "channel") -> str:
    kind, colon, name = channel.partition(":")
    if not colon or not name or not _KIND.fullmatch(kind):
        raise Invalid("a channel is KIND:NAME, for example room:lobby", field=field)
    if _NOT_IN_CHANNEL.search(channel):
        raise Invalid("a channel has no space, control character or *", field=field)
    if len(channel.encode()) > CHANNEL_BYTES_MAX:
        raise Invalid(f"a channel has at most {CHANNEL_BYTES_MAX} bytes", field=field)
    return channel


def check_pattern(pattern: str, field: str = "pattern") -> str:
    """A channel, or a prefix of one and a final `*`. The prefix holds at least the kind and its colon."""
    if not pattern.endswith("*"):
        return check_channel(pattern, field)
    prefix = pattern[:-1]
    kind, colon, _ = prefix.partition(":")
    if not colon or not _KIND.fullmatch(kind) or _NOT_IN_CHANNEL.search(prefix):
        raise Invalid("a pattern is a channel, or a prefix that holds the kind and a final *: room:*", field=field)
    if len(prefix.encode()) > CHANNEL_BYTES_MAX:
        raise Invalid(f"a pattern has at most {CHANNEL_BYTES_MAX} bytes before its *", field=field)
    return pattern


def pattern_matches(pattern: str, channel: str) -> bool:
    if pattern.endswith("*"):
        return channel.startswith(pattern[:-1])
    return pattern == channel


def check_user_id(user_id: str, field: str = "user_id") -> str:
    if not 1 <= len(user_id.encode(errors="surrogatepass")) <= USER_BYTES_MAX or _NOT_IN_USER.search(user_id):
        raise Invalid(f"a user is 1 to {USER_BYTES_MAX} bytes without control characters", field=field)
    return user_id


@functools.lru_cache(maxsize=1024)
def check_type(type_: str, field: str = "type") -> str:
    if not _TYPE.fullmatch(type_):
        raise Invalid("a type is 1 to 64 of A-Z a-z 0-9 _ - . : /", field=field)
    return type_


def check_client_event_id(event_id: str, field: str = "id") -> str:
    """An id that a publisher gave: `evt_` is the server's own prefix."""
    if not _CLIENT_EVENT_ID.fullmatch(event_id) or event_id.startswith("evt_"):
        raise Invalid(
            "an id is 1 to 64 of A-Z a-z 0-9 _ - . :, holds a letter or digit and does not begin with evt_",
            field=field,
        )
    return event_id


def check_event_id(event_id: str, field: str = "id") -> str:
    """An id of an event that was published once: a publisher's or the server's own."""
    if not _CLIENT_EVENT_ID.fullmatch(event_id):
        raise Invalid("an event's id is 1 to 64 of A-Z a-z 0-9 _ - . :, and holds a letter or digit", field=field)
    return event_id
