"""How settings are spelled, and what to say of names that are none. Called by `loading`."""

from collections.abc import Mapping

from polyglotd.config import APPS, SECTIONS
from polyglotd.model import Invalid, check_app_id, check_kind
from polyglotd.settings.problems import Problem, did_you_mean
from polyglotd.settings.sources import ENVIRONMENT_PREFIX, Given


def spelled(path: tuple[str, ...]) -> str:
    """`[listen] port`, `[apps.shop.kinds.room] join`."""
    if len(path) == 1 or (path[0] == APPS and len(path) <= 4):
        return f"[{'.'.join(path)}]"
    depth = 4 if path[0] == APPS else 1
    return f"[{'.'.join(path[:depth])}] {'.'.join(path[depth:])}"


def variable(section: str, key: str) -> str:
    return f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()


def unknown_section(given: Given) -> str:
    if len(given.path) == 1 and given.value != {}:
        key = given.path[0]
        if owners := [section for section in SECTIONS if key in _keys(section)]:
            return f"{key} stands outside of a section; right is {spelled((owners[0], key))}"
    return f"[{given.path[0]}] is no section{did_you_mean(given.path[0], (*SECTIONS, APPS))}"


def unknown_key(given: Given) -> str:
    section, key = given.path[:2]
    owners = [other for other in SECTIONS if key in _keys(other)]
    known = [(section, name) for name in _keys(section)] + [(other, key) for other in owners]
    names = {(variable(*path) if given.is_text else spelled(path)): path[1] for path in known}
    if owners:
        return f"{spelled(given.path)} is no setting; did you mean {next(reversed(names))}?"
    wrong = variable(section, key) if given.is_text else spelled((section, key))
    return f"{spelled(given.path)} is no setting{did_you_mean(wrong, names)}"


def wrong_names(app_id: str, kind: str) -> str | None:
    try:
        check_app_id(app_id)
        check_kind(kind)
    except Invalid as error:
        return f"[apps.{app_id}.kinds.{kind}]: {error.message}"
    return None


def one_underscore(environment: Mapping[str, str]) -> list[Problem]:
    """Variables that would be settings, had they the second underscore."""
    right = {
        variable(section, key).replace("__", "_"): (section, key) for section in SECTIONS for key in _keys(section)
    }
    return [
        Problem(name, f"is not read; right is {variable(*right[name])}, with two underscores")
        for name in sorted(environment.keys() & right.keys())
        if environment[name]
    ]


def _keys(section: str) -> tuple[str, ...]:
    return SECTIONS[section].__struct_fields__
