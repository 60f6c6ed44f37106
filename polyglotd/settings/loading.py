"""Put the sources of settings together: the file, then the environment, then flags; later ones win.

Called by `cli`. Every value of every source is judged, also one that a later source replaces, and all that is wrong
is collected before anything is said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from polyglotd.access.dev_mode import may_listen_on
from polyglotd.config import APPS, SECTIONS, Settings
from polyglotd.model import BUILT_IN_KINDS, Invalid, Policy, PolicyOverride, apply_override
from polyglotd.settings import kinds_of_value
from polyglotd.settings.checks import CHECKS, anything
from polyglotd.settings.names import one_underscore, spelled, unknown_key, unknown_section, wrong_names
from polyglotd.settings.problems import Problem, WrongSettings, did_you_mean, shown
from polyglotd.settings.reserved import RESERVED_SECTIONS
from polyglotd.settings.sources import Given, from_environment, from_file, from_flags


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and who said what: (section, key) to file and line, variable or flag."""

    settings: Settings
    origins: Mapping[tuple[str, ...], str]

    def origin(self, section: str, key: str) -> str:
        return self.origins.get((section, key), f"[{section}] {key}, by default")


def load_settings(
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[tuple[str, str], tuple[str, str | None]] | None = None,
    *,
    development: bool = False,
) -> Loaded:
    """Read all sources. `flags`: (section, key) to the flag's name and text. Raises `WrongSettings`."""
    loading = _Loading()
    if file is not None:
        try:
            loading.take_all(from_file(file))
        except WrongSettings as error:
            loading.problems += error.problems
    loading.take_all(from_environment(environment))
    loading.problems += one_underscore(environment)
    loading.take_all(from_flags(flags or {}))
    return loading.finish(development)


class _Loading:
    """What was taken so far, and what was wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._values: dict[tuple[str, ...], object] = {}
        self._origins: dict[tuple[str, ...], str] = {}

    def take_all(self, given: Iterable[Given]) -> None:
        for one in given:
            problem = self._take(one)
            if problem is not None:
                self.problems.append(Problem(one.origin, problem))

    def _take(self, given: Given) -> str | None:
        """Keep a value, or say what is wrong with it."""
        section = given.path[0]
        if section in RESERVED_SECTIONS:
            return f"{spelled(given.path)} can't be set: {RESERVED_SECTIONS[section]}"
        if section == APPS:
            return self._take_kind_field(given)
        if section not in SECTIONS:
            return unknown_section(given)
        if len(given.path) == 1:
            return None if given.value == {} else f"[{section}] is a table of settings, not {shown(given.value)}"
        key = given.path[1]
        kind = {field.name: field.type for field in msgspec.structs.fields(SECTIONS[section])}.get(key)
        if kind is None:
            return unknown_key(given)
        if len(given.path) > 2:
            return f"{spelled(given.path[:2])} has no settings of its own; it is {kinds_of_value.in_words(kind)}"
        return self._keep(given, kind)

    def _take_kind_field(self, given: Given) -> str | None:
        match given.path:
            case _ if given.is_text:
                return "kinds of apps are set in the file ([apps.APP.kinds.KIND]) or by polyglotctl kind set"
            case (_,) | (_, _) | (_, _, "kinds") if given.value == {}:
                return None
            case (_, app_id, "kinds", kind) if given.value == {}:
                return wrong_names(app_id, kind)
            case (_, app_id, "kinds", kind, name):
                fields = {field.name: field.type for field in msgspec.structs.fields(PolicyOverride)}
                if (wrong := wrong_names(app_id, kind)) is not None:
                    return wrong
                if name not in fields:
                    return f"{spelled(given.path)} is no setting{did_you_mean(name, fields)}"
                return self._keep(given, fields[name])
        return f"{spelled(given.path)} is no setting; what apps have here is [apps.APP.kinds.KIND] and its fields"

    def _keep(self, given: Given, kind: object) -> str | None:
        name = spelled(given.path)
        try:
            value = kinds_of_value.read(kind, given.value, is_text=given.is_text)
        except ValueError:
            return f"{name} is {shown(given.value)}; right is {kinds_of_value.in_words(kind)}"
        try:
            CHECKS.get(given.path, anything)(value)
        except ValueError as error:
            return f"{name}: {error}"
        self._values[given.path] = value
        self._origins[given.path] = given.origin
        return None

    def finish(self, development: bool) -> Loaded:
        kinds = self._kinds()
        if self.problems:
            raise WrongSettings(self.problems)
        sections = {
            name: section(**{path[1]: value for path, value in self._values.items() if path[0] == name})
            for name, section in SECTIONS.items()
        }
        loaded = Loaded(Settings(**sections, kinds=kinds), self._origins)  # type: ignore[arg-type]  # by SECTIONS
        if development and not may_listen_on(loaded.settings.listen.host):
            text = f"development mode listens on this machine alone, not on {shown(loaded.settings.listen.host)}; "
            raise WrongSettings(
                [Problem(loaded.origin("listen", "host"), text + "use 127.0.0.1, or leave out --dev")]
            )
        return loaded

    def _kinds(self) -> dict[str, dict[str, PolicyOverride]]:
        fields: dict[tuple[str, str], dict[str, object]] = {}
        for path, value in self._values.items():
            if path[0] == APPS:
                fields.setdefault((path[1], path[3]), {})[path[4]] = value
        kinds: dict[str, dict[str, PolicyOverride]] = {}
        for (app_id, kind), named in fields.items():
            override = msgspec.convert(named, PolicyOverride)
            try:
                apply_override(BUILT_IN_KINDS.get(kind, Policy()), override)
            except Invalid as error:
                path = next(path for path in self._origins if path[1:4] == (app_id, "kinds", kind))
                self.problems.append(Problem(self._origins[path], f"{spelled(path[:4])}: {error.message}"))
            kinds.setdefault(app_id, {})[kind] = override
        return kinds
