"""Paths of the API from names that people type."""

from urllib.parse import quote


def segment(text: str) -> str:
    """One segment of a path, percent-encoded where it must be."""
    return quote(text, safe=":")


def channel_path(app_id: str, channel: str) -> str:
    """`/apps/APP/channels/CHANNEL`."""
    return f"/apps/{segment(app_id)}/channels/{segment(channel)}"
