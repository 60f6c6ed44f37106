"""What the first start leaves behind: an admin token that the CLI finds, and in development mode the app `chat-app`.

Called by the composition root with the registry open, and by `cli` for further admin tokens.
"""

import logging
import os
from pathlib import Path

from polyglotd.access.admin_tokens import digest, looks_like_admin_token, new_admin_token
from polyglotd.access.api_keys import new_api_key
from polyglotd.access.dev_mode import DEV_APP_ID
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.host.cannot_start import CannotStart
from polyglotd.model import App, Conflict, NotFound, now_us
from polyglotd.store.interface import Registry

logger = logging.getLogger(__name__)

TOKEN_FILE = "admin.token"


async def add_admin_token(registry: Registry, name: str) -> str:
    """A new admin token, good at once; shown here and never again."""
    shown, kept = new_admin_token()
    await registry.add_admin_token(kept, name, now_us())
    return shown


async def ensure_admin_token(registry: Registry, data: Path) -> None:
    """DATA/admin.token holds a token that is good. Raises `CannotStart` where the file can't be read or written."""
    path = data / TOKEN_FILE
    try:
        found = _read(path)
        if found is None:
            _write(path, await add_admin_token(registry, "first start"))
            logger.info("wrote an admin token to %s", path)
        elif digest(found) not in await registry.admin_tokens():
            # The registry was replaced. Who may write into DATA is the operator anyway.
            await registry.add_admin_token(digest(found), "first start", now_us())
    except OSError as error:
        raise CannotStart(f"{path} can't be read or written: {error.strerror}; remove it for a new one") from None


async def ensure_development_app(registry: Registry) -> None:
    """`chat-app` is there. The key and secret that every app begins with are thrown away: nobody knows them, and the
    literals of development mode are never in the registry."""
    try:
        await registry.app(DEV_APP_ID)
    except NotFound:
        _, key = new_api_key(DEV_APP_ID, now_us=now_us(), name="unused")
        _, secret = new_signing_secret(DEV_APP_ID, now_us=now_us())
        try:
            await registry.create_app(App(DEV_APP_ID, "Development", created_us=now_us()), key, secret)
        except Conflict as error:
            logger.warning("app %s is not there: %s", DEV_APP_ID, error)


def _read(path: Path) -> str | None:
    """None where there is none, or none that was wholly written."""
    try:
        token = path.read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return token if looks_like_admin_token(token) else None


def _write(path: Path, token: str) -> None:
    """The file is there with its whole content and its mode, or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(fd)
    draft.rename(path)
