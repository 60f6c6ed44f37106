"""Request targets: a path as its segments, decoded one by one.

Channels are named in paths and may hold an encoded slash, so a path is split at its literal slashes before anything
is decoded. Dots are not resolved and slashes not merged: a path has one spelling, up to percent-encoding.
"""

import re
from urllib.parse import unquote_to_bytes

from polyglotd.model import Malformed

# Absolute-form (RFC 9112, 3.2.2): what a client sends that takes us for a proxy.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def authority_and_path(target: bytes) -> tuple[str | None, bytes]:
    """The authority of an absolute-form target (else None), and the path. Raises `Malformed`."""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        authority, path = None, target
    else:
        authority, path = absolute[1].decode("latin-1"), target[absolute.end() :] or b"/"
    if not path.startswith(b"/"):
        raise Malformed("the request target is a path that begins with /", field="path")
    return authority, path


def path_segments(path: bytes) -> tuple[str | None, ...]:
    """What lies between the slashes, decoded. None: a segment that is no percent-encoded UTF-8, so names nothing."""
    return tuple(map(decode_segment, path[1:].split(b"/")))


def decode_segment(segment: bytes) -> str | None:
    if b"%" in segment:
        if _BAD_ESCAPE.search(segment):
            return None
        segment = unquote_to_bytes(segment)
    try:
        return segment.decode()
    except UnicodeDecodeError:
        return None
