"""An app's limits as a registry keeps them: those that were set, so that the others follow the release's defaults.

Called by the makes of the registry. Pure.
"""

from collections.abc import Mapping

import msgspec

from polyglotd.model import Limits, LimitsPatch


def those_set(limits: Limits) -> dict[str, int]:
    defaults = Limits()
    return {
        name: value
        for name in Limits.__struct_fields__
        if (value := getattr(limits, name)) != getattr(defaults, name)
    }


def patched(limits: Mapping[str, int], patch: LimitsPatch) -> dict[str, int]:
    changed = dict(limits)
    for name in LimitsPatch.__struct_fields__:
        value = getattr(patch, name)
        if value is None:
            changed.pop(name, None)
        elif value is not msgspec.UNSET:
            changed[name] = value
    return changed


def with_defaults(limits: Mapping[str, int]) -> Limits:
    """A limit that a later release dropped is passed over: no reason to lose the app."""
    return msgspec.convert(
        {name: value for name, value in limits.items() if name in Limits.__struct_fields__}, Limits
    )
