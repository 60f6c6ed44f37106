"""A daemon from its start to its end, as whoever runs it sees it: signals, roles, tokens, logs."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import trio
from daemon_process import COMMAND, DaemonProcess, daemon_process, serving_plane
from daemon_refused import polyglotd
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

CHANNEL = "/apps/chat-app/channels/room:life"
KEY = {"X-API-Key": "valid_key_chat-app"}
EVENT = {"type": "message", "data": 1}


def history(daemon: DaemonProcess) -> list[dict[str, object]]:
    answer = httpx.get(f"{daemon.url}{CHANNEL}/history", headers=KEY)
    assert answer.status_code == 200, answer.text
    events: list[dict[str, object]] = answer.json()["events"]
    return events


def publish(daemon: DaemonProcess) -> int:
    answer = httpx.post(f"{daemon.url}{CHANNEL}/publish", headers=KEY, json=EVENT)
    assert answer.status_code == 200, answer.text
    seq: int = answer.json()["seq"]
    return seq


def operator(daemon: DaemonProcess) -> httpx.Client:
    """Over the admin socket."""
    transport = httpx.HTTPTransport(uds=str(daemon.data / "admin.sock"))
    return httpx.Client(transport=transport, base_url="http://localhost")


async def joined(ws: WebSocketConnection) -> None:
    await ws.send_message(json.dumps(["1", "1", "room:life", "phx_join", {}]))
    while True:
        message = json.loads(await ws.get_message())
        if message[3] == "phx_reply":
            assert message[4]["status"] == "ok", message
            return


def socket_url(daemon: DaemonProcess, user: str) -> str:
    return f"{daemon.websocket_url}/socket/websocket?vsn=2.0.0&app_id=chat-app&token=valid_token_{user}"


# --- ending ---


async def test_a_drain_tells_members_closes_with_1012_and_exits_with_0() -> None:
    with daemon_process(env={"POLYGLOTD_DRAIN__SECONDS": "3"}) as daemon:
        async with open_websocket_url(socket_url(daemon, "alice"), disconnect_timeout=1) as ws:
            await joined(ws)
            with operator(daemon) as client:
                assert client.get("/ready").status_code == 200
                os.kill(daemon.pid, signal.SIGTERM)
                notices = []
                with trio.fail_after(10):
                    try:
                        while True:
                            message = json.loads(await ws.get_message())
                            if message[3] == "system":
                                notices.append(message[4]["code"])
                                assert client.get("/ready").status_code == 503
                    except ConnectionClosed as closed:
                        reason = closed.reason
                assert notices == ["draining"]
                assert reason is not None
                assert reason.code == 1012
        deadline = time.monotonic() + 10
        while daemon.alive and time.monotonic() < deadline:
            await trio.sleep(0.05)
        assert daemon.exit_code == 0
    assert "ready http://" in daemon.stderr


def test_an_idle_daemon_ends_at_once_by_either_signal() -> None:
    with daemon_process(env={"POLYGLOTD_DRAIN__SECONDS": "60"}) as daemon:
        for number in (signal.SIGTERM, signal.SIGINT):
            begun = time.monotonic()
            assert daemon._end(number) == 0
            assert time.monotonic() - begun < 10
            assert not (daemon.data / "admin.sock").exists()
            daemon.start()


async def test_a_second_signal_stops_at_once() -> None:
    with daemon_process(env={"POLYGLOTD_DRAIN__SECONDS": "60"}) as daemon:
        async with open_websocket_url(socket_url(daemon, "alice"), disconnect_timeout=1) as ws:
            await joined(ws)
            seq = publish(daemon)
            os.kill(daemon.pid, signal.SIGTERM)
            with trio.fail_after(10):
                while json.loads(await ws.get_message())[3] != "system":
                    pass
            begun = time.monotonic()
            assert daemon._end(signal.SIGINT) == 128 + signal.SIGINT
            assert time.monotonic() - begun < 2
            assert "SIGINT again: stopped at once" in daemon.stderr
        daemon.start()
        assert history(daemon)[-1]["seq"] == seq


def test_a_signal_before_it_serves_ends_it_too(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve", "--role", "gateway", "--host", "localhost", "--port", "0", "--data", tmp_path.name],
        cwd=tmp_path.parent, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        process.stderr.readline()  # the first line of the log: it has begun
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM)  # the latter where Python was not that far yet
        assert "Traceback" not in rest
    finally:
        process.kill()


# --- roles ---


def test_gateway_and_processor_share_a_data_directory_whichever_starts_first(tmp_path: Path) -> None:
    with daemon_process("--role", "processor", dev=False) as processor:
        gateway = DaemonProcess(processor.data, "--role", "gateway")
        try:
            gateway.start()
            for _ in range(3):
                publish(gateway)
            deadline = time.monotonic() + 20
            with operator(gateway) as client:
                while "polyglot_store_behind_bytes 0.0" not in client.get("/metrics").text:
                    assert time.monotonic() < deadline, "the processor does not copy the log into the store"
                    time.sleep(0.1)
            assert processor.alive, processor.stderr
            niceness = os.getpriority(os.PRIO_PROCESS, processor.pid)
            assert niceness == max(10, os.getpriority(os.PRIO_PROCESS, gateway.pid)), "clients wait for it"
            processor.restart()
            publish(gateway)
            gateway.restart()
            assert [event["seq"] for event in history(gateway)] == [1, 2, 3, 4]
            assert gateway.stop() == 0
        finally:
            gateway.kill()
        assert processor.stop() == 0
    assert "ready processor\n" in processor.stderr


# --- operators ---


def test_the_first_start_writes_an_admin_token_that_stays_good(own_daemon: DaemonProcess) -> None:
    path = own_daemon.data / "admin.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = own_daemon.admin_token

    def status(bearer: str) -> int:
        return httpx.get(f"{own_daemon.url}/admin/apps", headers={"Authorization": f"Bearer {bearer}"}).status_code

    assert status(token) == 200
    assert status(token[:-1] + ("a" if token[-1] != "a" else "b")) == 401
    made = polyglotd("admin-token", "--data", own_daemon.data, "--name", "ci")
    assert (made.code, made.stderr) == (0, "")
    deadline = time.monotonic() + 5
    while status(made.stdout.strip()) != 200:
        assert time.monotonic() < deadline, "a running daemon does not see a new admin token"
        time.sleep(0.1)
    own_daemon.restart()
    assert own_daemon.admin_token == token
    assert status(token) == 200
    own_daemon.kill()
    for file in own_daemon.data.glob("registry.db*"):
        file.unlink()
    own_daemon.start()
    assert (own_daemon.admin_token, status(token)) == (token, 200)


def test_the_literals_of_development_mode_are_nothing_to_the_same_data_without_it() -> None:
    with daemon_process() as daemon:
        publish(daemon)
        assert daemon.stop() == 0
        served = DaemonProcess(daemon.data, dev=False)
        try:
            served.start()
            answers = [
                httpx.get(f"{served.url}{CHANNEL}/history", headers=KEY),
                httpx.get(f"{served.url}{CHANNEL}/history"),
                httpx.get(f"{served.url}{CHANNEL}/history", headers={"Authorization": "Bearer valid_token_alice"}),
                httpx.post(f"{served.url}{CHANNEL}/publish", headers=KEY, json=EVENT),
            ]
            assert [answer.status_code for answer in answers] == [401] * 4
            assert httpx.get(f"{served.url}/examples/chat_example.html").status_code == 404
        finally:
            served.kill()
    assert "DEVELOPMENT MODE" in daemon.stderr
    assert "DEVELOPMENT MODE" not in served.stderr


def test_metrics_are_the_operators_unless_they_are_public(daemon: DaemonProcess) -> None:
    assert httpx.get(f"{daemon.url}/metrics").status_code == 401
    with operator(daemon) as client:
        page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("polyglot_connections ", "polyglot_events_total ", "polyglot_log_bytes_total ", "process_open_fds "):
        assert f"\n{name}" in page.text
    assert "polyglot_app_connections" not in page.text


def test_metrics_may_be_public_and_by_app() -> None:
    with daemon_process(env={"POLYGLOTD_METRICS__PUBLIC": "true", "POLYGLOTD_METRICS__PER_APP": "true"}) as daemon:
        publish(daemon)
        page = httpx.get(f"{daemon.url}/metrics")
    assert page.status_code == 200
    assert 'polyglot_app_topics{app_id="chat-app"} 1.0' in page.text


@pytest.mark.skipif(serving_plane() != "native", reason="only the driver takes these times")
async def test_deliveries_are_timed_by_kind_and_by_app() -> None:
    with daemon_process(env={"POLYGLOTD_METRICS__PUBLIC": "true", "POLYGLOTD_METRICS__PER_APP": "true"}) as daemon:
        async with open_websocket_url(socket_url(daemon, "ann")) as ws:
            await joined(ws)
            for _ in range(3):
                await trio.to_thread.run_sync(publish, daemon)
                with trio.fail_after(5):
                    while json.loads(await ws.get_message())[3] != "event":
                        pass
            page = (await trio.to_thread.run_sync(httpx.get, f"{daemon.url}/metrics")).text
    for line in (
        "polyglot_events_total 3.0",
        "polyglot_driver_log_writes_total 3.0",
        'polyglot_app_events_total{app_id="chat-app"} 3.0',
        'polyglot_app_deliveries_total{app_id="chat-app"} 3.0',
    ):
        assert f"\n{line}\n" in page
    for name, label in (("", 'kind="room"'), ("_app", 'app_id="chat-app"')):
        name = f"polyglot{name}_delivery_latency_seconds"
        assert 0 < float(value_of(page, f"{name}_sum{{{label}}}")) < 3 * 5
        assert value_of(page, f"{name}_count{{{label}}}") == "3.0"
        assert value_of(page, f'{name}_bucket{{{label},le="8.388608"}}') == "3.0"
    assert value_of(page, 'polyglot_delivery_latency_seconds_count{kind="ticker"}') == "0.0"
    assert float(value_of(page, "polyglot_driver_turns_total")) > 0


def value_of(page: str, series: str) -> str:
    return next(line.removeprefix(f"{series} ") for line in page.splitlines() if line.startswith(f"{series} "))


# --- the process ---


def test_the_service_manager_hears_when_it_serves_and_when_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"polyglot-test-notify-{os.getpid()}"
        manager.bind(f"\0{name}")
        manager.settimeout(20)
        with daemon_process(env={"NOTIFY_SOCKET": f"@{name}"}) as daemon:
            assert manager.recv(100) == b"READY=1"
            daemon.stop()
            assert manager.recv(100) == b"STOPPING=1"


def test_it_takes_as_many_files_as_it_may() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        with daemon_process() as daemon:
            limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(hard), str(hard)]


def test_it_listens_on_ipv6_and_says_so_in_brackets() -> None:
    with daemon_process("--host", "::1") as daemon:
        assert daemon.host == "[::1]"
        assert httpx.get(f"{daemon.url}/alive").status_code == 200


def test_nothing_secret_is_in_the_log_even_when_it_says_everything() -> None:
    with daemon_process(env={"POLYGLOTD_TELEMETRY__LOG_LEVEL": "debug"}) as daemon:
        token = "valid_token_secretive"
        with httpx.stream("GET", f"{daemon.url}{CHANNEL}/events?token={token}"):
            pass
        httpx.get(f"{daemon.url}{CHANNEL}/history?limit=7", headers={"Authorization": f"Bearer {token}"})
        httpx.post(f"{daemon.url}{CHANNEL}/publish", headers=KEY, json={"type": "t", "data": "the payload"})
        httpx.get(f"{daemon.url}/socket/longpoll?vsn=2.0.0&app_id=chat-app&token={token}")
        with operator(daemon) as client:
            created = client.post("/admin/apps", json={"app_id": "secretive"}).json()
    assert '"level": "debug"' in daemon.stderr
    secrets = [created["api_key"]["key"], created["signing_secret"]["secret"], daemon.stderr and "the payload"]
    for secret in (token, "limit=7", "vsn=", *secrets):
        assert secret not in daemon.stderr
    for line in daemon.stderr.splitlines():
        if not line.startswith("ready "):
            json.loads(line)


def test_whoever_does_not_read_its_log_does_not_stop_it() -> None:
    import shutil
    import tempfile

    data = tempfile.mkdtemp(prefix="polyglot-")
    process = subprocess.Popen(
        [COMMAND, "serve", "--dev", "--port", "0", "--data", data],
        env={**os.environ, "POLYGLOTD_TELEMETRY__LOG_LEVEL": "debug"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = next(line.split()[1] for line in process.stderr if line.startswith("ready "))
        with httpx.Client(timeout=10) as client:
            for _ in range(600):  # a line of some 200 bytes each, and the pipe holds 64 KiB
                assert client.get(f"{url}/alive", headers={"X-Padding": "x"}).status_code == 200
    finally:
        process.kill()
        process.wait()
        process.stderr.close()  # type: ignore[union-attr]
        shutil.rmtree(data)


# --- small commands ---


def test_check_config_shows_each_setting_with_who_said_it(tmp_path: Path) -> None:
    config = tmp_path / "polyglot.toml"
    config.write_text('[listen]\nport = 5000\n[apps.shop.kinds.room]\npublish = "none"\n')
    ended = polyglotd("check-config", "--config", config, env={"POLYGLOTD_LISTEN__ORIGINS": "https://a.example"})
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert f"port = 5000  # {config}:2" in lines
    assert 'origins = ["https://a.example"]  # POLYGLOTD_LISTEN__ORIGINS' in lines
    assert 'host = "127.0.0.1"  # default' in lines
    assert f'publish = "none"  # {config}:4' in lines
    shown = tmp_path / "shown.toml"
    shown.write_text(ended.stdout)
    assert polyglotd("check-config", "--config", shown).code == 0
    config.write_text("[listen]\nport = 0.5\n")
    assert polyglotd("check-config", "--config", config).code == 2


def test_migrate_tells_what_it_did(tmp_path: Path) -> None:
    first = polyglotd("migrate", "--data", tmp_path)
    assert first.code == 0
    assert [line.split(": schema ")[0] for line in first.stdout.splitlines()] == [
        str(tmp_path / "registry.db"),
        str(tmp_path / "events.db"),
        str(tmp_path / "webhooks.db"),
        str(tmp_path / "rollups.db"),
    ]
    assert "was 0" in first.stdout
    assert "was" not in polyglotd("migrate", "--data", tmp_path).stdout
    assert polyglotd("migrate", "--data", tmp_path, "--from", "/elsewhere").code == 2


@pytest.mark.parametrize("command", [[], ["serve"], ["check-config"], ["migrate"], ["admin-token"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    ended = polyglotd(*command, "--help")
    assert ended.code == 0
    assert "Usage: polyglotd" in ended.stdout
    assert not command or "Example: polyglotd" in ended.stdout
