"""Metered quotas over real sockets: refused wherever an event enters, and taken again once there is room."""

from typing import Any

import httpx
import trio
from daemon_process import DaemonProcess
from phoenix_wire import connect

URL = "/apps/chat-app/channels/room:quotas"
KEY = {"X-API-Key": "valid_key_chat-app"}
MESSAGE = {"type": "m", "data": "x" * 50}


async def set_quota(client: httpx.AsyncClient, daemon: DaemonProcess, **limits: int | None) -> None:
    operator = {"Authorization": f"Bearer {daemon.admin_token}"}
    answer = await client.patch("/admin/apps/chat-app/quota", json=limits, headers=operator)
    assert answer.status_code == 200, answer.text


async def publish(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(f"{URL}/publish", headers=KEY, json=MESSAGE)


async def until_refused(client: httpx.AsyncClient) -> httpx.Response:
    """What was on its way when the quota was used up is admitted."""
    with trio.fail_after(10):
        while (answer := await publish(client)).status_code == 200:
            await trio.sleep(0.02)
    return answer


async def test_a_used_up_quota_refuses_http_and_sockets_until_it_is_raised(own_daemon: DaemonProcess) -> None:
    async with (
        httpx.AsyncClient(base_url=own_daemon.url) as client,
        connect(own_daemon.port, "valid_token_ann") as ann,
    ):
        _ = (await ann.join("room:quotas")).ok
        await set_quota(client, own_daemon, events_per_month=3)
        for _ in range(3):
            assert (await ann.ask("room:quotas", "publish", MESSAGE)).ok["seq"]
        refused = await until_refused(client)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.json()["quota"] == "events-per-month"
        assert 0 < int(refused.headers["retry-after"]) <= 31 * 86_400
        assert refused.headers["ratelimit-limit"] == "3"
        reply = await ann.ask("room:quotas", "publish", MESSAGE)
        assert (reply.refused["reason"], reply.refused["quota"]) == ("quota_exceeded", "events-per-month")
        batch = await client.post(
            "/apps/chat-app/publish", headers=KEY, json={"events": [{"channel": "match:q", **MESSAGE}]}
        )
        (result,) = batch.json()["results"]
        assert (result["code"], result["quota"]) == ("quota_exceeded", "events-per-month")
        own_daemon.restart()
    async with httpx.AsyncClient(base_url=own_daemon.url) as client:
        assert (await until_refused(client)).json()["quota"] == "events-per-month"  # the store knows
        usage = await client.get("/apps/chat-app/usage", headers=KEY)
        use: dict[str, Any] = usage.json()
        assert use["events"] >= use["limits"]["events_per_month"] == 3
        await set_quota(client, own_daemon, events_per_month=None, stored_bytes=use["stored_bytes"])
        refused = await until_refused(client)
        assert refused.json()["quota"] == "stored-bytes"
        await set_quota(client, own_daemon, stored_bytes=None)
        assert (await publish(client)).status_code == 200
