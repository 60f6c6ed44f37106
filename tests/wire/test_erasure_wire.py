"""Erasing with a real daemon: members, every file of the data directory, kills at random moments, the CLI."""

import os
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from followers import EventStream, LongPoll, Tail
from phoenix_wire import connect
from tenants import Operator
from test_polyglotctl import Ctl

APP = "chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
DONE_WITHIN_S = 30.0
ROUNDS = 20 if os.environ.get("POLYGLOT_TEST_FULL") == "1" else 3


class Server:
    """The daemon, as somebody calls it who tries again."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.http = httpx.Client(base_url=daemon.url, headers=KEY, timeout=10)

    def call(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.http.request(method, f"/apps/{APP}{path}", **how)

    def publish(self, channel: str, text: str, user: str | None = None, **more: Any) -> Any:
        answer = self.call(
            "POST",
            f"/channels/{channel}/publish",
            json={"type": "message", "data": {"text": text}, **more},
            headers={"X-User-Id": user} if user else {},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def erase(self, path: str) -> str:
        answer = self.call("DELETE", path)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["erasure_id"])

    def done(self, erasure_id: str) -> Any:
        deadline = time.monotonic() + DONE_WITHIN_S
        while True:
            answer = self.call("GET", f"/erasures/{erasure_id}")
            assert answer.status_code == 200, answer.text
            if answer.json()["done"]:
                return answer.json()
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)

    def history(self, channel: str, **query: Any) -> list[Any]:
        answer = self.call("GET", f"/channels/{channel}/history", params={"limit": 1000, **query})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["events"])

    def files_with(self, text: str) -> list[str]:
        """Files of the data directory that hold the text."""
        found = []
        for path in self.daemon.data.rglob("*"):
            try:
                if path.is_file() and text.encode() in path.read_bytes():
                    found.append(path.name)
            except FileNotFoundError:
                continue
        return found


def test_what_is_erased_is_in_no_file_and_history_has_no_gap(own_daemon: DaemonProcess) -> None:
    server = Server(own_daemon)
    published = [server.publish("room:lobby", f"secret-{n}-text", user=f"user-{n % 3}-name") for n in range(30)]
    other = server.publish("post:wall", "secret-wall-text", user="user-0-name")
    assert server.files_with("secret-3-text")
    before = server.history("room:lobby")
    one = server.erase(f"/channels/room:lobby/events/{published[3]['id']}")
    assert server.history("room:lobby")[3]["type"] == "erased", "history shows it at once"
    assert len(server.history("room:lobby", type="message")) == 29
    server.done(one)
    assert server.history("room:lobby", type="erased") == server.history("room:lobby")[3:4]
    assert not server.files_with("secret-3-text")
    user = server.erase("/users/user-0-name/events")
    assert server.done(user)["user"] is not None
    for n in range(0, 30, 3):
        assert not server.files_with(f"secret-{n}-text")
    assert not server.files_with("secret-wall-text")
    assert server.history("post:wall")[0] == {
        "id": other["id"], "app_id": APP, "channel": "post:wall", "type": "erased", "data": None, "seq": 1,
        "meta": {"user_id": None, "ts": other["timestamp"]},
    }  # fmt: skip
    after = server.history("room:lobby")
    for old, new in zip(before, after, strict=True):
        assert (new["id"], new["seq"], new["meta"]["ts"]) == (old["id"], old["seq"], old["meta"]["ts"])
        gone = old["seq"] - 1 == 3 or (old["seq"] - 1) % 3 == 0
        assert new == old if not gone else (new["type"], new["data"]) == ("erased", None)
    server.done(server.erase("/channels/room:lobby/history"))
    assert not server.files_with("-text")
    own_daemon.restart()
    assert [event["type"] for event in server.history("room:lobby")] == ["erased"] * 30
    assert server.publish("room:lobby", "goes on")["seq"] == 31


def test_kills_at_random_moments_leave_nothing_of_what_is_erased_and_all_of_the_rest(
    own_daemon: DaemonProcess,
) -> None:
    server, dice = Server(own_daemon), random.Random(5)
    gone: dict[int, str] = {}
    kept: dict[int, str] = {}
    erasures: list[str] = []
    for round_ in range(ROUNDS):
        for n in range(25):
            text = f"secret-{round_}-{n}-" + "x" * dice.randrange(3_000)
            seq = server.publish("room:lobby", text, id=f"id-{round_}-{n}")["seq"]
            kept[seq] = text
        for n in dice.sample(range(25), 8):
            seq = server.history("room:lobby", after=25 * round_ + n, limit=1)[0]["seq"]
            erasures.append(server.erase(f"/channels/room:lobby/events/id-{round_}-{n}"))
            gone[seq] = kept.pop(seq)
        time.sleep(dice.random() * 0.4)
        own_daemon.restart()
    for erasure in erasures:
        server.done(erasure)
    events = server.history("room:lobby")
    assert [event["seq"] for event in events] == list(range(1, 25 * ROUNDS + 1))
    for event in events:
        if event["seq"] in gone:
            assert (event["type"], event["data"]) == ("erased", None)
        else:
            assert event["data"] == {"text": kept[event["seq"]]}
    for text in gone.values():
        assert not server.files_with(text[: text.index("x")] if "x" in text else text)


async def test_members_streams_long_polls_and_tails_are_told(daemon: DaemonProcess) -> None:
    server = Server(daemon)
    channel = "room:erase-told"
    published = server.publish(channel, "secret")
    operator = {"Authorization": f"Bearer {daemon.admin_token}"}
    stream, tail = EventStream(), Tail()
    poll = LongPoll(daemon.url, APP, "valid_token_bob")
    async with connect(daemon.port) as ann, trio.open_nursery() as nursery:
        _ = (await ann.join(channel)).ok
        await nursery.start(stream.run, f"{daemon.url}/apps/{APP}/channels/{channel}/events", KEY)
        await nursery.start(tail.run, f"{daemon.websocket_url}/admin/apps/{APP}/tail?channel={channel}", operator)
        await nursery.start(poll.run, channel)
        async with Operator(daemon) as http:
            with trio.fail_after(10):  # streams are no members of presence: their subscriptions follow their heads
                path = f"/apps/{APP}/channels/{channel}"
                while (await http.ask("GET", path))["subscriptions"] < 4:
                    await trio.sleep(0.01)
        await trio.to_thread.run_sync(server.erase, f"/channels/{channel}/events/{published['id']}")
        frame = await ann.event(channel, "erased")
        assert (frame.payload["id"], frame.payload["seq"]) == (published["id"], 1)
        told = published["id"].encode()
        for follower, begins in ((stream, b"event: erased\ndata: "), (tail, b'{"erased":'), (poll, b'"erased",')):
            await follower.has(begins + b'{"id":"' + told)
        nursery.cancel_scope.cancel()


def test_the_command_line_erases_and_waits(own_daemon: DaemonProcess, tmp_path: Path) -> None:
    server, ctl = Server(own_daemon), Ctl(tmp_path, {"POLYGLOT_DATA": str(own_daemon.data)})
    first = server.publish("room:ctl", "secret-one")
    for user in ("ann", "bob"):
        server.publish("room:ctl", f"secret-of-{user}", user=user, id="same")
    found = ctl.json("event", "erase", APP, "room:ctl", first["id"], "--yes")
    assert found["done"] is True
    assert not server.files_with("secret-one")
    assert "2 events have this id" in ctl.refused("event", "erase", APP, "room:ctl", "same", "--yes")
    assert ctl.json("event", "erase", APP, "room:ctl", "same", "--seq", "3", "--yes")["seq"] == 3
    assert not server.files_with("secret-of-bob")
    assert ctl.json("event", "erase", APP, "--user", "ann", "--yes", "--no-wait")["what"] == "user"
    assert ctl.json("event", "erase", APP, "room:ctl", "--history", "--yes")["before"] == 4
    assert not server.files_with("secret-of-ann")
    own_app = Ctl(tmp_path, {"POLYGLOT_DATA": str(own_daemon.data), "POLYGLOT_APP": APP})
    assert own_app.json("event", "erase", "room:ctl", first["id"], "--yes")["seq"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["event", "erase", APP, "--yes"],
        ["event", "erase", APP, "room:a", "--yes"],
        ["event", "erase", APP, "room:a", "id", "--history", "--yes"],
        ["event", "erase", APP, "room:a", "--user", "ann", "--yes"],
        ["event", "erase", APP, "room:a", "--history", "--seq", "3", "--yes"],
        ["event", "erase", APP, "room:a", "id"],
    ],
)
def test_what_the_command_line_can_t_make_out_is_wrong_usage(
    daemon: DaemonProcess, tmp_path: Path, arguments: list[str]
) -> None:
    done = Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)}).run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")


async def test_nothing_of_a_deleted_app_is_left_in_any_file(tmp_path: Path) -> None:
    with daemon_process(dev=False) as daemon:
        async with Operator(daemon) as operator:
            gone, kept = await operator.create("gone-app"), await operator.create("kept-app")
            for n in range(20):
                await operator.publish(gone, f"room:secret-room-{n}", {"text": f"secret-{n}"})
            await operator.publish(kept, "room:lobby", {"text": "stays"})
            await operator.ask("DELETE", "/admin/apps/gone-app")
            left_of = (await operator.ask("GET", "/admin/erasures"))["apps"]
            assert [one["app_id"] for one in left_of] == ["gone-app"]
            daemon.restart()  # whatever was under way

            def left() -> list[str]:
                server = Server(daemon)
                return server.files_with("secret-room-") + server.files_with('"secret-')

            with trio.fail_after(60):
                while left() or (await operator.ask("GET", "/admin/erasures"))["apps"]:
                    await trio.sleep(0.2)
            await operator.create("gone-app")  # its id is free
            assert [e["data"] for e in (await operator.history(kept, "room:lobby"))["events"]] == [{"text": "stays"}]


async def test_what_waits_for_an_endpoint_that_is_down_is_erased_there_too() -> None:
    env = {"POLYGLOTD_WEBHOOKS__ALLOW_PRIVATE": "127.0.0.0/8"}
    with daemon_process(dev=False, env=env) as daemon:
        async with Operator(daemon) as operator:
            tenant = await operator.create("hooked-app")
            await operator.ask("POST", "/admin/apps/hooked-app/webhooks", {"url": "http://127.0.0.1:1/"})
            secret = await operator.publish(tenant, "room:a", {"text": "secret-one"})
            await operator.publish(tenant, "room:a", {"text": "kept-one"})
            server = Server(daemon)
            with trio.fail_after(30):
                while not {"webhooks.db", "webhooks.db-wal"} & set(server.files_with("secret-one")):
                    await trio.sleep(0.05)
            path = f"{tenant.url}/channels/room:a/events/{secret['id']}"
            answer = await operator.http.delete(path, headers=tenant.by_key)
            erasure = answer.json()["erasure_id"]
            with trio.fail_after(30):
                while not (await operator.http.get(f"{tenant.url}/erasures/{erasure}", headers=tenant.by_key)).json()[
                    "done"
                ]:
                    await trio.sleep(0.05)
                while server.files_with("secret-one"):
                    await trio.sleep(0.05)
            assert server.files_with("kept-one")
