"""Who connects from where: development mode's fence against other machines and foreign pages (DNS rebinding among
them), the origins that may connect elsewhere, and the rate of an address.
"""

from typing import Any

import pytest
from daemon_process import DaemonProcess, daemon_process
from phoenix_wire import connect, refusal
from tenants import Operator

LOCAL = ["localhost", "localhost:1", "127.0.0.1:4000", "127.9.9.9", "[::1]:4000", "LOCALHOST"]
FOREIGN_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example:4000",
    "10.0.0.1",
    "0.0.0.0",
    "[::]",
]
LOCAL_ORIGINS = ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:3000"]
FOREIGN_ORIGINS = [
    "http://evil.example", "null", "http://localhost.evil.example", "http://localhost@evil.example", "file://",
    "http://127.0.0.1.evil.example", "https://localhost:4000/path", "http://localhost http://evil.example",
    "chrome-extension://localhost",
]  # fmt: skip
FORWARDED = [("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", "localhost"),
             ("X-Real-IP", "127.0.0.1")]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL)
async def test_development_mode_lets_this_machine_in(daemon: DaemonProcess, host: str) -> None:
    async with connect(daemon.port, host=host) as wire:
        await wire.beat()


@pytest.mark.parametrize("origin", LOCAL_ORIGINS)
async def test_development_mode_lets_pages_of_this_machine_in(daemon: DaemonProcess, origin: str) -> None:
    async with connect(daemon.port, headers=[("Origin", origin)]) as wire:
        await wire.beat()


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        *((host, []) for host in FOREIGN_HOSTS),
        *((None, [("Origin", origin)]) for origin in FOREIGN_ORIGINS),
        *((None, [header]) for header in FORWARDED),
        (None, [("Origin", "http://localhost"), ("Origin", "http://evil.example")]),
        # A name that a foreign page made to mean loopback: the browser says it in both.
        ("rebound.example:4000", [("Origin", "http://rebound.example:4000")]),
    ],
    ids=str,
)
async def test_development_mode_keeps_foreign_pages_and_names_out(
    daemon: DaemonProcess, host: str | None, headers: list[tuple[str, str]]
) -> None:
    refused = await refusal(daemon.port, host=host, headers=headers)
    assert refused.status == 403
    assert refused.problem["code"] == "forbidden"
    assert "access-control-allow-origin" not in refused.headers


async def test_elsewhere_pages_connect_from_the_servers_own_origin_and_the_listed_ones() -> None:
    with daemon_process(dev=False, env={"POLYGLOTD_LISTEN__ORIGINS": "https://app.example.com"}) as daemon:
        async with Operator(daemon) as operator:
            app = await operator.create("origins")
            how: dict[str, Any] = {"app_id": app.app_id, "host": "live.example.com"}
            for origin in (None, "https://app.example.com", "https://live.example.com", "http://live.example.com"):
                headers: list[tuple[str, str]] = [] if origin is None else [("Origin", origin)]
                async with connect(daemon.port, app.token("ann"), headers=headers, **how) as wire:
                    await wire.beat()
            for origin in ("https://evil.example", "null", "https://app.example.com.evil.example",
                           "http://app.example.com", "https://app.example.com:8443"):  # fmt: skip
                refused = await refusal(daemon.port, app.token("ann"), headers=[("Origin", origin)], **how)
                assert (refused.status, refused.problem["code"]) == (403, "forbidden"), origin


async def test_an_address_that_connects_too_fast_is_told_to_wait_before_any_credential_is_looked_at() -> None:
    with daemon_process(env={"POLYGLOTD_LISTEN__PER_ADDRESS": "1"}) as daemon:
        for _ in range(10):
            assert (await refusal(daemon.port, "nonsense")).status == 403
        for token in ("nonsense", "valid_token_ann"):
            refused = await refusal(daemon.port, token)
            assert (refused.status, refused.problem["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) >= 1
