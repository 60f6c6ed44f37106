"""Calendar months in UTC, which quotas and bills are counted by."""

from datetime import UTC, datetime

_US = 1_000_000


def month_of(ts_us: int) -> str:
    """As `2026-11`."""
    return datetime.fromtimestamp(ts_us / _US, UTC).strftime("%Y-%m")


def month_ends_us(ts_us: int) -> int:
    """When the next month begins."""
    now = datetime.fromtimestamp(ts_us / _US, UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * _US
