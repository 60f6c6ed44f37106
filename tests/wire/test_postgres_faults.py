"""The daemon on a PostgreSQL that is restarted, locked, full or hangs: clients notice nothing, and every event that
was acknowledged is in the store exactly once when it is over."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from daemon_process import DaemonProcess, daemon_process
from own_postgres import OwnPostgres, own_postgres, proxy_to, small_disk

APP = "/apps/chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
WAIT_S = 45.0  # for what takes a moment, on a busy machine


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def proxied(postgres: OwnPostgres) -> Iterator[Any]:
    with proxy_to(postgres.url) as proxy_and_url:
        yield proxy_and_url


@pytest.fixture(scope="module")
def served(proxied: Any) -> Iterator[DaemonProcess]:
    with daemon_process(env={"POLYGLOTD_STORE__URL": proxied[1], "POLYGLOTD_DRAIN__SECONDS": "1"}) as daemon:
        yield daemon


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    return f"room:{request.node.name.removeprefix('test_')[:40]}"


def publish(daemon: DaemonProcess, channel: str, count: int) -> None:
    """Each is acknowledged, whatever the store does."""
    items = [{"channel": channel, "type": "message", "data": {"n": n}} for n in range(count)]
    answer = httpx.post(daemon.url + APP + "/publish", json={"events": items}, headers=KEY, timeout=10)
    assert answer.status_code == 200
    assert all("seq" in result for result in answer.json()["results"]), answer.text


def health(daemon: DaemonProcess) -> dict[str, Any]:
    token = {"Authorization": f"Bearer {daemon.admin_token}"}
    return dict(httpx.get(daemon.url + "/health", headers=token, timeout=10).json())


def waiting_for(daemon: DaemonProcess) -> str | None:
    stages = health(daemon)["processor"]["stages"]
    return str(why) if (why := stages["store"]["waiting_for"]) is not None else None


def until(so: Callable[[], object], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := so()):
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S:g} s"
        time.sleep(0.05)
    return found


def stored(server: OwnPostgres, channel: str) -> list[int]:
    with psycopg.connect(server.url) as person:
        rows = person.execute("SELECT seq FROM polyglot.events WHERE channel = %s ORDER BY seq", (channel,))
        return [seq for (seq,) in rows]


def all_is_stored_once(daemon: DaemonProcess, server: OwnPostgres, channel: str, count: int) -> None:
    until(lambda: len(stored(server, channel)) >= count, "every event is stored")
    assert stored(server, channel) == list(range(1, count + 1))
    until(lambda: waiting_for(daemon) is None, "nothing waits")
    with psycopg.connect(server.url) as person:
        events = person.execute("SELECT count(*) FROM polyglot.events WHERE app_id = 'chat-app'").fetchone()
        assert (
            person.execute("SELECT sum(events)::bigint FROM polyglot.usage WHERE app_id = 'chat-app'").fetchone()
            == events
        )


def test_health_and_the_log_say_which_store_it_is(served: DaemonProcess) -> None:
    assert health(served)["parts"]["store"] == "postgresql"
    assert "PostgreSQL 18." in served.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_a_server_that_goes_and_comes_back(
    served: DaemonProcess, postgres: OwnPostgres, channel: str, sign: signal.Signals
) -> None:
    publish(served, channel, 20)
    until(lambda: len(stored(postgres, channel)) == 20, "they are stored")
    postgres.stop(sign)
    try:
        publish(served, channel, 20)
        until(lambda: waiting_for(served), "health says that the stage waits")
        # What is in memory and in the log is served without the store.
        page = httpx.get(f"{served.url}{APP}/channels/{channel}/history?limit=5", headers=KEY, timeout=10)
        assert [event["seq"] for event in page.json()["events"]] == [36, 37, 38, 39, 40]
    finally:
        postgres.start()
    all_is_stored_once(served, postgres, channel, 40)


def test_a_lock_that_somebody_holds(served: DaemonProcess, postgres: OwnPostgres, channel: str) -> None:
    with psycopg.connect(postgres.url) as somebody:
        somebody.execute("LOCK TABLE polyglot.events IN ACCESS EXCLUSIVE MODE")
        publish(served, channel, 20)
        assert "lock" in until(lambda: waiting_for(served), "health says that the stage waits")
    all_is_stored_once(served, postgres, channel, 20)


def test_a_connection_that_is_cut_while_it_writes(
    served: DaemonProcess, postgres: OwnPostgres, proxied: Any, channel: str
) -> None:
    for _ in range(10):
        publish(served, channel, 20)
        proxied[0].cut()
    all_is_stored_once(served, postgres, channel, 200)


def test_a_connection_that_hangs(served: DaemonProcess, postgres: OwnPostgres, proxied: Any, channel: str) -> None:
    publish(served, channel, 20)
    until(lambda: len(stored(postgres, channel)) == 20, "they are stored")
    proxied[0].stall()
    try:
        publish(served, channel, 20)
        answered = time.monotonic()
        # Older than window and log: only the store could say.
        page = httpx.get(f"{served.url}{APP}/channels/room:nobody/history", headers=KEY, timeout=20)
        assert page.status_code in (200, 503), page.text
        assert time.monotonic() - answered < 15
        assert "can't be used now" in until(lambda: waiting_for(served), "health says that the stage waits")
        publish(served, channel, 20)
    finally:
        proxied[0].flow()
    all_is_stored_once(served, postgres, channel, 60)


def test_a_disk_that_is_full(served: DaemonProcess, postgres: OwnPostgres, channel: str) -> None:
    publish(served, channel, 10)
    until(lambda: stored(postgres, channel), "the table has a partition")
    try:
        with small_disk(postgres.directory, 1024) as disk:
            with psycopg.connect(postgres.url, autocommit=True) as admin:
                admin.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
                week = admin.execute("SELECT tableoid::regclass::text FROM polyglot.events LIMIT 1").fetchone()
                assert week is not None
                admin.execute("ALTER TABLE polyglot.usage SET TABLESPACE small")
                admin.execute(f"ALTER TABLE {week[0]} SET TABLESPACE small")
            with contextlib.suppress(OSError):  # that is what it is for
                (disk / "filler").write_bytes(bytes(1 << 20))
            for _ in range(10):
                publish(served, channel, 100)
            assert "space" in until(lambda: waiting_for(served), "health says that the stage waits")
            (disk / "filler").unlink()
            all_is_stored_once(served, postgres, channel, 1_010)
            with psycopg.connect(postgres.url, autocommit=True) as admin:
                admin.execute(f"ALTER TABLE {week[0]} SET TABLESPACE pg_default")
                admin.execute("ALTER TABLE polyglot.usage SET TABLESPACE pg_default")
                admin.execute("DROP TABLESPACE small")
    except OSError as error:
        pytest.skip(str(error))
