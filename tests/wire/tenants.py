"""Apps as an operator makes them over TCP with the admin token, with the credentials of each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
from daemon_process import DaemonProcess

ROUTE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Tenant:
    """An app, its first key and its first secret."""

    app_id: str
    key_id: str
    key: str
    secret_id: str
    secret: str

    @property
    def url(self) -> str:
        return f"/apps/{self.app_id}"

    @property
    def by_key(self) -> dict[str, str]:
        return {"X-API-Key": self.key}

    def token(self, user: str, *, ttl_s: float = 300, **claims: Any) -> str:
        """Signed as the app's own server would, with a library of its choice."""
        return jwt.encode(
            {"sub": user, "aud": self.app_id, "iat": int(time.time()), "exp": time.time() + ttl_s, **claims},
            self.secret,
            "HS256",
        )

    def by_token(self, user: str, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, **claims)}"}


class Operator:
    """The admin API, and an HTTP client for everything else."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.credentials = {"Authorization": f"Bearer {daemon.admin_token}"}
        self.http = httpx.AsyncClient(base_url=daemon.url, timeout=ROUTE_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.http.__aexit__(type_, error, where)

    async def ask(self, method: str, path: str, body: Any = None, *, status: int | None = None) -> Any:
        """An admin call that must succeed, or have this status; the answer."""
        answer = await self.http.request(method, path, json=body, headers=self.credentials)
        assert answer.status_code == status or (status is None and answer.is_success), answer.text
        return answer.json() if answer.content else None

    async def create(self, app_id: str, *, quota: Mapping[str, int] | None = None) -> Tenant:
        made = await self.ask("POST", "/admin/apps", {"app_id": app_id})
        key, secret = made["api_key"], made["signing_secret"]
        if quota:
            await self.ask("PATCH", f"/admin/apps/{app_id}/quota", dict(quota))
        return Tenant(app_id, key["key_id"], key["key"], secret["secret_id"], secret["secret"])

    async def publish(self, tenant: Tenant, channel: str, data: Any, type_: str = "m", **body: Any) -> Any:
        answer = await self.http.post(
            f"{tenant.url}/channels/{channel}/publish",
            json={"type": type_, "data": data, **body},
            headers=tenant.by_key,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def history(self, tenant: Tenant, channel: str, **query: Any) -> Any:
        answer = await self.http.get(f"{tenant.url}/channels/{channel}/history", params=query, headers=tenant.by_key)
        assert answer.status_code == 200, answer.text
        return answer.json()
