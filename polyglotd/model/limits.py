"""The limits of an app: section 8 of the contract as data. Names on the wire have `_`, in the CLI `-`."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Amount = Annotated[int, Meta(ge=0, le=1 << 53)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates are per second and allow a burst of one second unless it is said otherwise."""

    connections: Count = 10_000
    connects_per_second: Rate = 200  # burst: five seconds' worth
    channels_per_connection: Count = 100
    joins_per_second: Rate = 50  # per connection; burst: channels_per_connection
    publishes_per_connection: Rate = 100
    publishes_per_app: Rate = 5_000
    api_publishes: Rate = 10_000
    payload_bytes: Annotated[int, Meta(ge=1, le=8 * 1024 * 1024)] = 65_536
    channels: Count = 100_000
    types_per_ticker: Annotated[int, Meta(ge=1, le=100_000)] = 256
    events_per_month: Amount | None = None  # None: unlimited; of all kinds, in UTC months
    stored_bytes: Amount | None = None  # of `data`, of logged kinds, for as long as the store keeps them


class LimitsPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """New values for some limits; null puts the default back."""

    connections: Count | None | msgspec.UnsetType = msgspec.UNSET
    connects_per_second: Rate | None | msgspec.UnsetType = msgspec.UNSET
    channels_per_connection: Count | None | msgspec.UnsetType = msgspec.UNSET
    joins_per_second: Rate | None | msgspec.UnsetType = msgspec.UNSET
    publishes_per_connection: Rate | None | msgspec.UnsetType = msgspec.UNSET
    publishes_per_app: Rate | None | msgspec.UnsetType = msgspec.UNSET
    api_publishes: Rate | None | msgspec.UnsetType = msgspec.UNSET
    payload_bytes: Annotated[int, Meta(ge=1, le=8 * 1024 * 1024)] | None | msgspec.UnsetType = msgspec.UNSET
    channels: Count | None | msgspec.UnsetType = msgspec.UNSET
    types_per_ticker: Annotated[int, Meta(ge=1, le=100_000)] | None | msgspec.UnsetType = msgspec.UNSET
    events_per_month: Amount | None | msgspec.UnsetType = msgspec.UNSET
    stored_bytes: Amount | None | msgspec.UnsetType = msgspec.UNSET


def apply_patch(limits: Limits, patch: LimitsPatch) -> Limits:
    """The limits with the patch's values in place."""
    defaults = Limits()
    changed = {
        name: getattr(defaults, name) if value is None else value
        for name in LimitsPatch.__struct_fields__
        if (value := getattr(patch, name)) is not msgspec.UNSET
    }
    return msgspec.structs.replace(limits, **changed)
