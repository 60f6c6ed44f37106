"""The registry, cached: which apps there are, with which limits, kinds, keys and signing secrets.

Every decision that names an app asks here. Entries are whole apps, loaded at first use; `registry_follower` says when
to read them again. Does not judge credentials and writes nothing.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from polyglotd.access.admin_tokens import verify_admin_token
from polyglotd.model import (
    BUILT_IN_KINDS,
    ApiKey,
    App,
    Endpoint,
    Invalid,
    NotFound,
    Policy,
    PolicyOverride,
    SigningSecret,
    Unavailable,
    apply_override,
    check_app_id,
)
from polyglotd.store.interface import Registry

logger = logging.getLogger(__name__)

REGISTRY_DEADLINE_S = 5.0
APPS_MAX = 10_000  # cached beyond those that are active
ABSENT_MAX = 10_000  # remembered names of apps that are not there, so that guessing costs the registry nothing

Kinds = Mapping[str, PolicyOverride]


@dataclass(frozen=True, slots=True)
class Entry:
    """One app with its live credentials."""

    app: App
    keys: Mapping[bytes, ApiKey]  # by digest; not the revoked ones, but those that have expired
    secrets: tuple[SigningSecret, ...]  # not the revoked ones; newest first
    configured: Kinds
    webhooks: tuple[Endpoint, ...] = ()
    _policies: dict[str, Policy | None] = field(default_factory=dict, compare=False)

    def policy(self, kind: str) -> Policy | None:
        """Built-in, then the configuration's override, then the app's own. None where nobody defined the kind."""
        if kind not in self._policies and any(
            kind in layer for layer in (BUILT_IN_KINDS, self.configured, self.app.kinds)
        ):
            self._policies[kind] = _resolve(self.app, self.configured, kind)
        return self._policies.get(kind)


@dataclass(frozen=True, slots=True)
class Change:
    """An app that is cached is not what it was. `now` None: it is gone."""

    app_id: str
    before: Entry
    now: Entry | None


def resolve_kind(kind: str, configured: PolicyOverride | None, own: PolicyOverride | None) -> Policy | None:
    """The policy of a kind from its layers. Raises `Invalid` where they contradict each other."""
    policy = BUILT_IN_KINDS.get(kind)
    for override in (configured, own):
        if override is not None:
            policy = apply_override(policy or Policy(), override)
    return policy


class Directory:
    """Reads are from memory once an app is loaded. Raises `Unavailable` where the registry does not answer."""

    def __init__(self, registry: Registry, kinds: Mapping[str, Kinds], active: Collection[str]) -> None:
        self._registry = registry
        self._kinds = kinds
        self._active = active
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._admin_tokens: Mapping[bytes, str] | None = None
        self._admin_tokens_once: Mapping[bytes, str] | None = None  # as last read: for while the registry is away
        self._loading: dict[str, trio.Lock] = {}
        self._refreshing = trio.Lock()
        self._generation = 0  # rises when a change was heard of, before anything of it is read

    def cached(self, app_id: str) -> Entry | None:
        """Without waiting. An active app that was once asked for is always here, until it is deleted."""
        return self._entries.get(app_id)

    def at_once(self, app_id: str) -> Entry | None:
        """What `entry` would return, if it need not wait."""
        if (found := self._entries.get(app_id)) is not None:
            self._entries.move_to_end(app_id)
        return found

    async def entry(self, app_id: str) -> Entry:
        """Raises `NotFound`, also for what is no app id at all."""
        if (found := self.at_once(app_id)) is not None:
            return found
        self._raise_if_absent(app_id)
        lock = self._loading.setdefault(app_id, trio.Lock())
        try:
            async with lock:
                return self._entries.get(app_id) or await self._load_new(app_id)
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._loading.pop(app_id, None)

    async def is_admin_token(self, token: str) -> bool:
        return verify_admin_token(token, await self.admin_tokens())

    async def admin_tokens(self) -> Mapping[bytes, str]:
        """Those that were known last, where the registry is away: an operator is to see then what is wrong."""
        generation, tokens = self._generation, self._admin_tokens
        if tokens is not None:
            return tokens
        try:
            with _answered_in_time():
                tokens = await self._registry.admin_tokens()
        except Unavailable:
            if self._admin_tokens_once is None:
                raise
            return self._admin_tokens_once
        self._admin_tokens_once = tokens
        if generation == self._generation:
            self._admin_tokens = tokens
        return tokens

    async def version(self) -> int:
        """The registry's. What was read before it rose may be old."""
        with _answered_in_time():
            return await self._registry.version()

    async def refresh(self) -> list[Change]:
        """The registry has changed: read active apps again at once, others when they are next asked for."""
        async with self._refreshing:
            self._generation += 1
            self._absent.clear()
            self._admin_tokens = None
            for app_id in [a for a in self._entries if a not in self._active]:
                del self._entries[app_id]
            return [change for app_id in list(self._entries) if (change := await self._reload(app_id))]

    def _raise_if_absent(self, app_id: str) -> None:
        try:
            check_app_id(app_id)
        except Invalid:
            raise NotFound("there is no such app") from None
        if app_id in self._absent:
            raise NotFound("there is no such app")

    async def _load_new(self, app_id: str) -> Entry:
        while True:
            generation = self._generation
            entry = await self._load(app_id)
            if generation == self._generation:
                break  # else it may have been read before the change that another task has just seen
        if entry is None:
            self._absent[app_id] = None
            if len(self._absent) > ABSENT_MAX:
                self._absent.popitem(last=False)
            raise NotFound("there is no such app")
        self._entries[app_id] = entry
        if len(self._entries) > APPS_MAX + len(self._active):
            self._evict_oldest()
        return entry

    def _evict_oldest(self) -> None:
        for app_id in self._entries:
            if app_id not in self._active:
                del self._entries[app_id]
                return

    async def _reload(self, app_id: str) -> Change | None:
        now = await self._load(app_id)
        before = self._entries.get(app_id)
        if before is None or now == before:
            return None
        if now is None:
            del self._entries[app_id]
        else:
            self._entries[app_id] = now
        return Change(app_id, before, now)

    async def _load(self, app_id: str) -> Entry | None:
        try:
            with _answered_in_time():
                app = await self._registry.app(app_id)
                keys = await self._registry.keys(app_id)
                secrets = await self._registry.secrets(app_id)
                webhooks = await self._registry.webhooks(app_id)
        except NotFound:
            return None
        return self.view(
            app,
            {key.digest: key for key in keys if key.revoked_us is None},
            tuple(secret for secret in secrets if secret.revoked_us is None),
            tuple(webhooks),
        )

    def view(
        self,
        app: App,
        keys: Mapping[bytes, ApiKey] | None = None,
        secrets: tuple[SigningSecret, ...] = (),
        webhooks: tuple[Endpoint, ...] = (),
    ) -> Entry:
        """An app with the kinds that the configuration gives it; not cached."""
        return Entry(app, keys or {}, secrets, self._kinds.get(app.app_id, {}), webhooks)


def _resolve(app: App, configured: Kinds, kind: str) -> Policy | None:
    try:
        return resolve_kind(kind, configured.get(kind), app.kinds.get(kind))
    except Invalid as error:
        # The admin API refuses such an override; a later change of the configuration can still make one of it.
        logger.error("kind %s of app %s: its own override is ignored: %s", kind, app.app_id, error)
    try:
        return resolve_kind(kind, configured.get(kind), None)
    except Invalid as error:
        logger.error("kind %s of app %s: the configuration's override is ignored: %s", kind, app.app_id, error)
        return BUILT_IN_KINDS.get(kind, Policy())


@contextmanager
def _answered_in_time() -> Iterator[None]:
    try:
        with trio.fail_after(REGISTRY_DEADLINE_S):
            yield
    except trio.TooSlowError:
        raise Unavailable("the registry does not answer") from None
