"""The settings in force as TOML, each with who said it. Called by `polyglotd check-config`."""

import re
from collections.abc import Iterator

import msgspec

from polyglotd.config import APPS, SECTIONS
from polyglotd.settings.loading import Loaded
from polyglotd.settings.problems import shown


def settings_lines(loaded: Loaded) -> Iterator[str]:
    for section in SECTIONS:
        values = getattr(loaded.settings, section)
        yield f"[{section}]"
        for key in SECTIONS[section].__struct_fields__:
            origin = loaded.origins.get((section, key), "default")
            value = getattr(values, key)
            if (section, key) == ("store", "url"):
                value = without_password(value)
            yield f"{key} = {_toml(value)}  # {origin}"
        yield ""
    for app_id, kinds in loaded.settings.kinds.items():
        for kind, override in kinds.items():
            yield f"[{APPS}.{app_id}.kinds.{kind}]"
            for key, value in msgspec.structs.asdict(override).items():
                if value is not msgspec.UNSET:
                    yield f"{key} = {_toml(value)}  # {loaded.origins[APPS, app_id, 'kinds', kind, key]}"
            yield ""


def without_password(url: str) -> str:
    """The URL as it may be shown. A password may stand before the host, or among the parameters."""
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", re.sub(r"^(\w+://[^:/?@]*:)[^/?]*@", r"\1***@", url))


def _toml(value: object) -> str:
    """JSON's texts, numbers, truths and lists are TOML's too."""
    return shown(list(value) if isinstance(value, tuple) else value)
