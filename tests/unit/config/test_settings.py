"""Settings from file, environment and flags: which wins, and what is said of wrong ones."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from polyglotd.config import SECTIONS, Settings
from polyglotd.model import PolicyOverride
from polyglotd.settings.loading import Loaded, load_settings
from polyglotd.settings.problems import WrongSettings
from polyglotd.settings.showing import settings_lines, without_password

EXAMPLE = Path(__file__).parents[3] / "config/polyglot.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "polyglot.toml"


def load(
    file: Path,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, str], tuple[str, str | None]] | None = None,
    *,
    development: bool = False,
) -> Loaded:
    file.write_text(text)
    return load_settings(file, environment or {}, flags, development=development)


def problems(file: Path, text: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(WrongSettings) as raised:
        load(file, text, environment)
    return [str(problem).replace(f"{file}:", "FILE:") for problem in raised.value.problems]


# --- sources ---


def test_without_any_source_every_setting_has_its_default() -> None:
    loaded = load_settings(None, {})
    assert loaded.settings == Settings()
    assert loaded.origins == {}


def test_later_sources_win_and_it_is_known_who_spoke(file: Path) -> None:
    text = '[listen]\nhost = "::"\nport = 1\nper_address = 7\n'
    environment = {"POLYGLOTD_LISTEN__PORT": "2", "POLYGLOTD_LISTEN__PER_ADDRESS": "8"}
    loaded = load(file, text, environment, {("listen", "port"): ("--port", "3"), ("data", "dir"): ("--data", None)})
    listen = loaded.settings.listen
    assert (listen.host, listen.per_address, listen.port) == ("::", 8, 3)
    assert loaded.origin("listen", "host") == f"{file}:2"
    assert loaded.origin("listen", "per_address") == "POLYGLOTD_LISTEN__PER_ADDRESS"
    assert loaded.origin("listen", "port") == "--port"
    assert loaded.origin("data", "dir") == "[data] dir, by default"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("LISTEN__ORIGINS", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
        ("LISTEN__ORIGINS", '["https://a.example"]', ("https://a.example",)),
        ("LISTEN__ORIGINS", "[]", ()),
        ("LISTEN__PORT", " 5 ", 5),
        ("METRICS__PUBLIC", "True", True),
        ("METRICS__PUBLIC", "0", False),
        ("DRAIN__SECONDS", "2.5", 2.5),
        ("DATA__DIR", "/srv/a b", "/srv/a b"),
        ("LOG__SYNC", "always", "always"),
    ],
)
def test_variables_are_read_as_the_type_of_their_setting(variable: str, text: str, expected: object) -> None:
    settings = load_settings(None, {f"POLYGLOTD_{variable}": text}).settings
    section, key = variable.lower().split("__")
    assert getattr(getattr(settings, section), key) == expected


@pytest.mark.parametrize("name", ["POLYGLOTD_PORT", "POLYGLOTD_SERVICE_HOST", "POLYGLOT_URL", "PATH"])
def test_variables_that_are_not_settings_are_left_alone(name: str) -> None:
    assert load_settings(None, {name: "tcp://10.0.0.1:4000"}).settings == Settings()


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_settings(None, {"POLYGLOTD_LISTEN__PORT": ""}).settings == Settings()


def test_kinds_of_apps_come_from_the_file(file: Path) -> None:
    text = (
        '[apps.shop.kinds.auction]\ndurability = "logged"\nhistory_events = 5\n[apps.b.kinds]\nroom.publish = "none"'
    )
    assert load(file, text).settings.kinds == {
        "shop": {"auction": PolicyOverride(durability="logged", history_events=5)},
        "b": {"room": PolicyOverride(publish="none")},
    }


def test_the_example_file_names_every_setting_with_its_default() -> None:
    document = tomllib.loads(EXAMPLE.read_text())
    assert {name: set(keys) for name, keys in document.items()} == {
        name: set(section.__struct_fields__) for name, section in SECTIONS.items()
    }
    assert load_settings(EXAMPLE, {}).settings == Settings()


def test_the_example_of_a_kind_names_every_field_of_a_policy(file: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    start = lines.index("# [apps.shop.kinds.auction]")
    text = "\n".join(line.removeprefix("# ") for line in lines[start:])
    override = load(file, text).settings.kinds["shop"]["auction"]
    assert all(getattr(override, name) is not msgspec.UNSET for name in PolicyOverride.__struct_fields__)


# --- what is wrong ---

WRONG = {
    "a value out of bounds": ("[listen]\n\nport = 70000", "FILE:3: [listen] port is 70000; right is a whole number"
        " from 0 to 65535"),
    "a number as text": ('[listen]\nport = "4000"', 'FILE:2: [listen] port is "4000"; right is a whole number from 0'
        " to 65535"),
    "no such choice": ('[log]\nsync = "never"', 'FILE:2: [log] sync is "never"; right is one of always, interval,'
        " os"),
    "text for a truth": ('[metrics]\npublic = "yes"', 'FILE:2: [metrics] public is "yes"; right is true or false'),
    "not a number": ("[drain]\nseconds = nan", "FILE:2: [drain] seconds is NaN; right is a number from 0 to 3600"),
    "a truth for a number": ("[listen]\nport = true", "FILE:2: [listen] port is true; right is a whole number from 0"
        " to 65535"),
    "a table for a value": ("[listen.port]\nx = 1", "FILE:2: [listen] port has no settings of its own; it is a whole"
        " number from 0 to 65535"),
    "an empty table for a value": ("[listen.port]", "FILE:1: [listen] port is {}; right is a whole number from 0 to"
        " 65535"),
    "a value for a table": ("listen = 4000", "FILE:1: [listen] is a table of settings, not 4000"),
    "a date": ("[data]\ndir = 2026-01-01", "FILE:2: [data] dir is 2026-01-01; right is text"),
    "a misspelt key": ("[listen]\nprot = 1", "FILE:2: [listen] prot is no setting; did you mean [listen] port?"),
    "a key of another section": ("[log]\nport = 1", "FILE:2: [log] port is no setting; did you mean [listen] port?"),
    "a key outside of a section": ("port = 1", "FILE:1: port stands outside of a section; right is [listen] port"),
    "a misspelt section": ("[lisen]\nport = 1", "FILE:2: [lisen] is no section; did you mean listen?"),
    "host with port": ('[listen]\nhost = "0.0.0.0:4000"', 'FILE:2: [listen] host: "0.0.0.0:4000" is no host; right is'
        " a name or an address, without port or brackets"),
    "no network": ('[listen]\ntrusted_proxies = ["10.0.0.1/8"]', "FILE:2: [listen] trusted_proxies: '10.0.0.1/8' is"
        " neither an address nor a network such as 10.0.0.0/8: 10.0.0.1/8 has host bits set"),
    "no origin": ('[listen]\norigins = [\n"app.example"]', "FILE:2: [listen] origins: 'app.example' is not an origin:"
        " write scheme and host, https://app.example.com, no path"),
    "no store": ('[store]\nurl = "mysql://root:secret@db/x"', "FILE:2: [store] url: right is postgresql://USER@HOST/"
        "DATABASE, sqlite:///PATH (four slashes where the path is absolute), or nothing"),
    "no libpq URL": ('[store]\nurl = "postgresql://u:sec%ret@db/x"', "FILE:2: [store] url: it is no URL that libpq"
        " reads; right is postgresql://USER:PASSWORD@HOST/DATABASE, with signs like @ and / in"
        " the password as %40 and %2F"),
    "a cluster": ('[redis]\nurl = "redis://:secret@db"', "FILE:2: [redis] url can't be set: this release has no"
        " cluster: it runs as one node, on its own log and store"),
    "an empty table of a part to come": ("[tls]", "FILE:1: [tls] can't be set: this release does not end TLS: put a"
        " proxy in front, and name it in [listen] trusted_proxies"),
    "no such field of a kind": ("[apps.a.kinds.room]\nhistroy_s = 1", "FILE:2: [apps.a.kinds.room] histroy_s is no"
        " setting; did you mean history_s?"),
    "a wrong field of a kind": ("[apps.a.kinds.room]\nhistory_s = -1", "FILE:2: [apps.a.kinds.room] history_s is -1;"
        " right is a whole number from 0 to 315360000"),
    "fields that contradict each other": ('[apps.a.kinds.room]\nroute = "local-first"', "FILE:2: [apps.a.kinds.room]:"
        " a logged kind is log-first: its seqs come from the log"),
    "something else of an app": ("[apps.a]\nname = 'x'", "FILE:2: [apps.a.name] is no setting; what apps have here is"
        " [apps.APP.kinds.KIND] and its fields"),
    "no TOML": ("[listen]\nport = \n", "FILE:2: is not TOML: invalid value"),
    "no end": ('[listen]\nhost = """\n', "FILE:3: is not TOML: unterminated string"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_named_with_its_line_and_what_would_be_right(file: Path, text: str, problem: str) -> None:
    assert problems(file, text) == [problem]


WRONG_VARIABLES = {
    "POLYGLOTD_LISTEN__PORT": ("http", '[listen] port is "http"; right is a whole number from 0 to 65535'),
    "POLYGLOTD_LISTEN__PROT": ("1", "[listen] prot is no setting; did you mean POLYGLOTD_LISTEN__PORT?"),
    "POLYGLOTD_LISTEN_PORT": ("1", "is not read; right is POLYGLOTD_LISTEN__PORT, with two underscores"),
    "POLYGLOTD_LISTEN__ORIGINS": ('["a"', '[listen] origins is "[\\"a\\""; right is a list of texts'),
    "POLYGLOTD_REDIS__URL": (
        "redis://:secret@db",
        "[redis] url can't be set: this release has no cluster: it runs as one node, on its own log and store",
    ),
    "POLYGLOTD_APPS__A__KINDS__ROOM__JOIN": (
        "any",
        "kinds of apps are set in the file ([apps.APP.kinds.KIND]) or by polyglotctl kind set",
    ),
    "POLYGLOTD_FOO__BAR": (
        "1",
        "[foo] is no section; there are access, analytics, apps, data, drain, driver, listen, log, metrics,"
        " processor, store, telemetry, webhooks",
    ),
}


@pytest.mark.parametrize("variable", WRONG_VARIABLES)
def test_a_wrong_variable_is_named_with_what_would_be_right(variable: str) -> None:
    text, problem = WRONG_VARIABLES[variable]
    with pytest.raises(WrongSettings) as raised:
        load_settings(None, {variable: text})
    assert [str(one) for one in raised.value.problems] == [f"{variable}: {problem}"]


def test_all_problems_of_all_sources_come_at_once(file: Path) -> None:
    found = problems(file, "[listen]\nprot = 1\nport = -1\n", {"POLYGLOTD_LISTEN__PORT": "x"})
    assert [problem.split(": ")[0] for problem in found] == ["FILE:2", "FILE:3", "POLYGLOTD_LISTEN__PORT"]


def test_a_wrong_value_is_told_even_where_a_later_source_replaces_it(file: Path) -> None:
    assert len(problems(file, "[listen]\nport = -1\n", {"POLYGLOTD_LISTEN__PORT": "4001"})) == 1


def test_a_flag_is_named_by_its_name() -> None:
    with pytest.raises(WrongSettings, match=r"^--port: "):
        load_settings(None, {}, {("listen", "port"): ("--port", "99999")})


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    not_utf8 = tmp_path / "latin.toml"
    not_utf8.write_bytes(b"[data]\ndir = '\xe9'\n")
    cases = {
        tmp_path / "absent.toml": "absent.toml: can't be read: No such file or directory",
        tmp_path: "can't be read: Is a directory",
        not_utf8: "latin.toml:2: is not UTF-8, as TOML must be",
    }
    for path, expected in cases.items():
        with pytest.raises(WrongSettings) as raised:
            load_settings(path, {})
        assert str(raised.value).endswith(expected)


def test_lines_are_counted_alike_with_line_ends_of_windows(file: Path) -> None:
    file.write_bytes(b"[listen]\r\n\r\nport = 70000\r\n")
    with pytest.raises(WrongSettings, match=r"polyglot\.toml:3: "):
        load_settings(file, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_development_mode_listens_on_loopback_alone_and_says_who_wanted_otherwise(file: Path, host: str) -> None:
    with pytest.raises(WrongSettings, match=r"polyglot\.toml:2: development mode listens on this machine alone"):
        load(file, f'[listen]\nhost = "{host}"', development=True)
    assert load(file, f'[listen]\nhost = "{host}"').settings.listen.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_development_mode_takes_any_loopback_host(file: Path, host: str) -> None:
    assert load(file, f'[listen]\nhost = "{host}"', development=True).settings.listen.host == host


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:se@cret@db:5432/x?sslmode=require", "postgresql://u:***@db:5432/x?sslmode=require"),
        ("postgres://:secret@/x", "postgres://:***@/x"),
        (
            "postgresql://db/x?user=u&password=secret&connect_timeout=3",
            "postgresql://db/x?user=u&password=***&connect_timeout=3",
        ),
        ("postgresql://db/x?sslpassword=secret", "postgresql://db/x?sslpassword=***"),
        ("postgresql://u@[::1]:5432/x", "postgresql://u@[::1]:5432/x"),
        ("sqlite:///a:b@c", "sqlite:///a:b@c"),
        ("", ""),
    ],
)
def test_the_password_of_a_store_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    loaded = load_settings(None, {"POLYGLOTD_STORE__URL": url})
    assert "secret" not in "".join(settings_lines(loaded))
