"""What a setting's type can't say: checks of single values. Called by `loading` with values that were read already.

Each raises ValueError with what would be right.
"""

from collections.abc import Callable, Mapping

from polyglotd.access.addresses import parse_networks
from polyglotd.access.origins import parse_origins
from polyglotd.config import POSTGRES_URL_PREFIXES, SQLITE_URL_PREFIX
from polyglotd.settings.problems import shown


def anything(value: object) -> None:
    pass


def _check_host(host: object) -> None:
    text = str(host)
    if not text or any(letter in text for letter in " /[]") or (text.count(":") == 1):
        raise ValueError(f"{shown(text)} is no host; right is a name or an address, without port or brackets")


def _check_dir(path: object) -> None:
    if not str(path).strip() or "\0" in str(path):
        raise ValueError("right is the path of a directory")


def _check_store_url(url: object) -> None:
    text = str(url)
    if text.startswith(POSTGRES_URL_PREFIXES):
        _check_postgres_url(text)
        return
    # The url is not shown: one with a password may stand here by mistake.
    if text and (not text.startswith(SQLITE_URL_PREFIX) or len(text) == len(SQLITE_URL_PREFIX) or "?" in text):
        raise ValueError(
            f"right is postgresql://USER@HOST/DATABASE, {SQLITE_URL_PREFIX}PATH (four slashes where the path is "
            "absolute), or nothing"
        )


def _check_postgres_url(url: str) -> None:
    from psycopg import ProgrammingError  # most daemons do without: its import takes a quarter of a second
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except ProgrammingError as error:
        # libpq's words may hold the url, and so the password.
        raise ValueError(
            "it is no URL that libpq reads; right is postgresql://USER:PASSWORD@HOST/DATABASE, with "
            "signs like @ and / in the password as %40 and %2F"
        ) from error


def _check_networks(networks: object) -> None:
    parse_networks(networks)  # type: ignore[arg-type]  # read as texts before


def _check_allow_private(allowed: object) -> None:
    if not isinstance(allowed, bool):
        parse_networks(allowed)  # type: ignore[arg-type]  # read as texts before


def _check_origins(origins: object) -> None:
    parse_origins(origins)  # type: ignore[arg-type]  # read as texts before


CHECKS: Mapping[tuple[str, ...], Callable[[object], None]] = {
    ("listen", "host"): _check_host,
    ("listen", "trusted_proxies"): _check_networks,
    ("listen", "origins"): _check_origins,
    ("webhooks", "allow_private"): _check_allow_private,
    ("data", "dir"): _check_dir,
    ("store", "url"): _check_store_url,
}
