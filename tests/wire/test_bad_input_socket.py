"""Every reason that section 3 of the contract has for an error reply, and every limit of section 8, provoked over the
wire. After each the connection lives on; what ends it is in `test_bad_frames` and `test_bad_peers`.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import trio
from daemon_process import DaemonProcess
from phoenix_wire import PhoenixWire, Refused, connect, refusal
from tenants import Operator, Tenant

REPEATED_KEY = b'{"type":"a","type":"b"}'

# What a member sends on a room that it joined: event, payload, reason, and what the reply says besides.
PUSHES: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("publish", {}, "invalid", {"field": "type"}),
    ("publish", {"type": None}, "invalid", {"field": "type"}),
    ("publish", {"type": 5}, "invalid", {"field": "type"}),
    ("publish", {"type": ""}, "invalid", {"field": "type"}),
    ("publish", {"type": "with space"}, "invalid", {"field": "type"}),
    ("publish", {"type": "ü"}, "invalid", {"field": "type"}),
    ("publish", {"type": "x" * 65}, "invalid", {"field": "type"}),
    ("publish", {"type": "m", "id": ""}, "invalid", {"field": "id"}),
    ("publish", {"type": "m", "id": 7}, "invalid", {"field": "id"}),
    ("publish", {"type": "m", "id": "x" * 65}, "invalid", {"field": "id"}),
    ("publish", {"type": "m", "id": "evt_mine"}, "invalid", {"field": "id"}),
    ("publish", {"type": "m", "id": "-.:"}, "invalid", {"field": "id"}),
    ("publish", {"type": "m", "id": "a\nb"}, "invalid", {"field": "id"}),
    ("publish", [], "invalid", {"field": "payload"}),
    ("publish", None, "invalid", {"field": "payload"}),
    ("publish", b"1e999", "invalid", {"field": "payload"}),
    ("publish", REPEATED_KEY, "invalid", {"field": "payload"}),
    ("publish", {"type": "m", "data": "x" * 65_535}, "payload_too_large", {"limit": 65_536}),
    ("signal", {}, "invalid", {"field": "type"}),
    ("signal", "hello", "invalid", {"field": "payload"}),
    ("signal", {"type": "m", "data": "x" * 65_535}, "payload_too_large", {"limit": 65_536}),
    ("history", {"limit": 0}, "invalid", {"field": "limit"}),
    ("history", {"limit": 1001}, "invalid", {"field": "limit"}),
    ("history", {"limit": "all"}, "invalid", {"field": "limit"}),
    ("history", {"before": -1}, "invalid", {"field": "before"}),
    ("history", {"after": 1.5}, "invalid", {"field": "after"}),
    ("history", b'{"after":99999999999999999999}', "invalid", {"field": "after"}),
    ("history", b'{"after":1e999}', "invalid", {"field": "after"}),
    ("history", [], "invalid", {"field": "payload"}),
    ("presence_update", {}, "invalid", {"field": "info"}),
    ("presence_update", {"info": "away"}, "invalid", {"field": "info"}),
    ("presence_update", {"info": {"a": "x" * 1017}}, "payload_too_large", {"limit": 1024}),
    ("access_token", {}, "invalid", {"field": "access_token"}),
    ("access_token", {"access_token": 5}, "invalid", {"field": "access_token"}),
    ("access_token", {"access_token": "nonsense"}, "unauthorized", {}),
    ("access_token", {"access_token": "valid_token_somebody_else"}, "forbidden", {}),
    ("shout", {}, "unknown_event", {}),
    ("", {}, "unknown_event", {}),
    ("presence_state", {}, "unknown_event", {}),
    ("x" * 1000, {}, "unknown_event", {}),
]


async def test_every_wrong_push_gets_its_reason_and_the_channel_lives_on(daemon: DaemonProcess) -> None:
    async with connect(daemon.port, "valid_token_pusher") as wire:
        _ = (await wire.join("room:wrong-pushes")).ok
        for number, (event, payload, reason, more) in enumerate(PUSHES):
            if number % 50 == 49:
                await trio.sleep(1)  # a hundred refusals a second would be abuse
            reply = (await wire.ask("room:wrong-pushes", event, b"null" if payload is None else payload)).refused
            del reply["message"]
            assert reply == {"reason": reason, **more}, (event, payload)
        assert (await wire.ask("room:wrong-pushes", "publish", {"type": "m", "data": "x" * 65_534})).ok["seq"] == 1


async def test_what_a_kind_does_not_allow_is_forbidden(daemon: DaemonProcess) -> None:
    """`valid_token_…` names no capabilities, so the kind's policy decides."""
    async with connect(daemon.port, "valid_token_reader") as wire:
        _ = (await wire.join("ticker:forbidden")).ok
        for event, payload in (
            ("publish", {"type": "m"}),
            ("signal", {"type": "m"}),
            ("presence", {}),
        ):
            assert (await wire.ask("ticker:forbidden", event, payload)).refused["reason"] == "forbidden", event


async def test_pushes_to_what_is_not_joined_are_unmatched(daemon: DaemonProcess) -> None:
    async with connect(daemon.port) as wire:
        for topic in ("room:never-joined", "nonsense", "phoenix", ""):
            for event in ("publish", "history", "shout"):
                assert (await wire.ask(topic, event)).refused["reason"] == "unmatched topic"
        assert (await wire.ask("phoenix", "phx_join")).refused["reason"] == "unmatched topic"
        assert (await wire.leave("room:never-joined")).ok == {}
        _ = (await wire.join("room:left-again")).ok
        _ = (await wire.leave("room:left-again")).ok
        assert (await wire.ask("room:left-again", "publish", {"type": "m"})).refused["reason"] == "unmatched topic"


JOINS: list[tuple[str, Any, str, dict[str, Any]]] = [
    *((topic, {}, "invalid", {"field": "channel"}) for topic in (
        "nocolon", "", ":", "room:", ":lobby", "Room:x", "1room:x", "room_" + "x" * 30 + ":y", "rööm:x",
        "room:a b", "room:a\tb", "room:a\nb", "room:a\x00b", "room:\x7f", "room:\x85", "room:\u2028",
        "room:*", "room:a*b", "room:" + "x" * 196, "room:" + "ü" * 98, "room:" + "x" * 100_00,
    )),
    *((topic, {}, "unknown_channel_kind", {}) for topic in ("zebra:x", "rooms:x", "phoenix:x", "r-_9:x")),
    ("room:wrong-joins", {"since": 5}, "invalid", {"field": "since"}),
    ("room:wrong-joins", {"since": {"epoch": "e"}}, "invalid", {"field": "since.seq"}),
    ("room:wrong-joins", {"since": {"epoch": "e", "seq": -1}}, "invalid", {"field": "since.seq"}),
    ("room:wrong-joins", {"since": {"epoch": 7, "seq": 1}}, "invalid", {"field": "since.epoch"}),
    ("room:wrong-joins", {"history": -1}, "invalid", {"field": "history"}),
    ("room:wrong-joins", {"history": "all"}, "invalid", {"field": "history"}),
    ("room:wrong-joins", {"self": "no"}, "invalid", {"field": "self"}),
    ("room:wrong-joins", [1], "invalid", {"field": "payload"}),
]  # fmt: skip


async def test_every_wrong_join_gets_its_reason(daemon: DaemonProcess) -> None:
    async with connect(daemon.port, "valid_token_joiner") as wire:
        for topic, params, reason, more in JOINS:
            reply = (await wire.join(topic, params)).refused
            if reply["reason"] == "rate_limited":  # the burst is as large as the number of channels
                pytest.fail("the table has grown beyond the burst of joins: split it")
            del reply["message"]
            assert reply == {"reason": reason, **more}, (topic[:40], params)
            assert (await wire.ask(topic, "publish", {"type": "m"})).refused["reason"] == "unmatched topic"
        _ = (await wire.join("room:wrong-joins", {"since": None, "of-the-application": [1]})).ok


ODD_NAMES = [
    "room:!\"#$%&'()+,-./:;<=>?@[\\]^_`{|}~",
    "room:..", "room:/", "room://x", "room:%2F%00", "room:?a=b#c", "room:a:b:c", "room::", "room:-", "room:\\u0000",
    "room:ä€𝄞", "room:\u202eevil", "room:\u200b", "room:\u00a0", "room:e\u0301", "room:é",
    "room:';DROP_TABLE_events;--",
    "room:" + "x" * 195, "room:" + "ü" * 97, "room:${jndi:x}", "room:{{7+7}}", "room:<script>",
]  # fmt: skip


async def test_every_other_character_in_a_name_is_kept_over_every_way(daemon: DaemonProcess) -> None:
    async with connect(daemon.port, "valid_token_odd") as wire, Operator(daemon) as operator:
        for number, name in enumerate(ODD_NAMES):
            _ = (await wire.join(name)).ok
            published = (await wire.ask(name, "publish", {"type": "m", "data": number})).ok
            event = (await wire.event(name)).payload
            assert (event["channel"], event["data"], event["id"]) == (name, number, published["id"])
            path = f"/apps/chat-app/channels/{quote(name, safe='')}"
            page = (await operator.http.get(f"{path}/history")).json()
            assert (page["channel"], [event["data"] for event in page["events"]]) == (name, [number]), name
            _ = (await wire.leave(name)).ok
        composed, decomposed = "room:é", "room:e\u0301"  # look the same, and are two
        for name in (composed, decomposed):
            _ = (await wire.join(name)).ok
            path = f"/apps/chat-app/channels?{urlencode({'prefix': name})}"
            assert [channel["channel"] for channel in (await operator.ask("GET", path))["channels"]] == [name]


# --- limits


async def limited(operator: Operator, app_id: str, **quota: int) -> Tenant:
    return await operator.create(app_id, quota=quota)


async def test_limits_of_a_connection_have_their_errors(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await limited(
            operator, "limits-a", channels_per_connection=3, joins_per_second=1, publishes_per_connection=2,
            payload_bytes=100,
        )  # fmt: skip
        async with connect(daemon.port, app.token("ann"), app_id=app.app_id) as wire:
            for number in range(3):
                _ = (await wire.join(f"room:{number}")).ok
            reply = (await wire.join("room:3")).refused
            assert reply["reason"] == "rate_limited"  # the burst is used up
            assert 1 <= reply["retry_after_ms"] <= 1000
            await trio.sleep(reply["retry_after_ms"] / 1000 + 0.05)
            assert (await wire.join("room:3")).refused["reason"] == "too_many_channels"
            await trio.sleep(1.05)
            _ = (await wire.join("room:0")).ok  # again: it takes no place

            too_large = (await wire.ask("room:0", "publish", {"type": "m", "data": "x" * 99})).refused
            assert (too_large["reason"], too_large["limit"]) == ("payload_too_large", 100)
            _ = (await wire.ask("room:0", "publish", {"type": "m", "data": "x" * 98})).ok
            assert (await wire.ask("room:0", "signal", {"type": "m"})).ok == {}
            reply = (await wire.ask("room:0", "publish", {"type": "m"})).refused
            assert reply["reason"] == "rate_limited"
            assert 1 <= reply["retry_after_ms"] <= 500
            assert (await wire.ask("room:0", "signal", {"type": "m"})).refused["reason"] == "rate_limited"
            await trio.sleep(reply["retry_after_ms"] / 1000 + 0.05)
            _ = (await wire.ask("room:0", "publish", {"type": "m"})).ok


async def test_limits_of_an_app_have_their_errors(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await limited(operator, "limits-b", connections=2, channels=2, publishes_per_app=3, types_per_ticker=2)
        async with (
            connect(daemon.port, app.token("ann"), app_id=app.app_id) as ann,
            connect(daemon.port, app.token("bob"), app_id=app.app_id) as bob,
        ):
            refused = await refusal(daemon.port, app.token("cyd"), app_id=app.app_id)
            assert refused.status == 429
            assert (refused.problem["code"], refused.problem["quota"]) == ("quota_exceeded", "connections")

            for wire in (ann, bob):
                _ = (await wire.join("room:one")).ok
            replies = [await wire.ask("room:one", "publish", {"type": "m"}) for wire in (ann, bob, ann, bob)]
            assert [reply.status for reply in replies] == ["ok", "ok", "ok", "error"]
            assert replies[3].refused["reason"] == "rate_limited"
            assert replies[3].refused["retry_after_ms"] >= 1

            for type_ in ("a", "b", "a", "c"):
                await operator.publish(app, "ticker:two", type_, type_)
            snapshot = (await ann.join("ticker:two")).ok["snapshot"]
            assert [event["type"] for event in snapshot] == ["a", "c"]

            over = (await ann.join("room:three")).refused
            assert (over["reason"], over["quota"]) == ("quota_exceeded", "channels")
        await connects_again(daemon, app)


async def connects_again(daemon: DaemonProcess, app: Tenant) -> None:
    """Places come back with a connection's end."""
    with trio.fail_after(5):
        while True:
            try:
                async with connect(daemon.port, app.token("cyd"), app_id=app.app_id):
                    return
            except Refused:
                await trio.sleep(0.05)


async def test_new_connections_of_an_app_have_a_rate_which_users_who_come_back_do_not_use(
    daemon: DaemonProcess,
) -> None:
    async with Operator(daemon) as operator:
        app = await limited(operator, "limits-c", connects_per_second=1)  # a burst of five
        for number in range(5):
            async with connect(daemon.port, app.token(f"user{number}"), app_id=app.app_id):
                pass
        refused = await refusal(daemon.port, app.token("user5"), app_id=app.app_id)
        assert (refused.status, refused.problem["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        async with connect(daemon.port, app.token("user3"), app_id=app.app_id):
            pass


async def test_a_connection_that_is_refused_again_and_again_is_not_read_for_a_second_and_then_closed(
    daemon: DaemonProcess,
) -> None:
    async with connect(daemon.port, "valid_token_abuser") as wire, connect(daemon.port) as other:
        for _ in range(100):
            await wire.push("room:never-joined", "publish", {})
        began = trio.current_time()
        await wire.beat()
        assert 0.8 < trio.current_time() - began < 3, "it was read meanwhile"
        await other.beat(1)
        for _ in range(100):
            await wire.push("room:never-joined", "publish", {})
        assert (await wire.end()).code == 4008
        await other.beat(1)


async def test_any_number_of_joins_ends_within_the_bound_of_channels(daemon: DaemonProcess) -> None:
    async with connect(daemon.port, "valid_token_greedy") as wire:
        refs = [await join_without_waiting(wire, f"room:greedy-{number}") for number in range(180)]
        statuses = [await wire.answer(ref) for ref in refs]
        assert [answer.status for answer in statuses].count("ok") == 100
        reasons = {answer.refused["reason"] for answer in statuses if answer.status == "error"}
        assert reasons <= {"rate_limited", "too_many_channels"}
        for number in range(100_000):  # bounded by the abuse rule long before
            if wire.closed is not None:
                break
            await join_without_waiting(wire, f"room:greedy-{number}-more")
        assert (await wire.end()).code == 4008


async def join_without_waiting(wire: PhoenixWire, topic: str) -> str:
    ref = wire.next_ref()
    await wire.send_text(json.dumps([ref, ref, topic, "phx_join", {}]).encode())
    return ref


# --- faults of the server's own


async def test_a_full_log_is_unavailable_and_a_damaged_one_internal_and_nothing_else_ends(tmp_path: Path) -> None:
    """A gateway whose processor never comes, and whose log somebody overwrites while it runs."""
    data = Path(tempfile.mkdtemp(prefix="polyglot-"))
    daemon = DaemonProcess(data, "--role", "gateway", env={"POLYGLOTD_LOG__BYTES_MAX": str(1 << 20)})
    try:
        daemon.start()
        async with connect(daemon.port) as wire, Operator(daemon) as operator:
            _ = (await wire.join("room:full")).ok
            events = [{"channel": "room:full", "type": "m", "data": {"n": n}} for n in range(1000)]
            for _ in range(2):
                answer = await operator.http.post(
                    "/apps/chat-app/publish", json={"events": events}, headers={"X-API-Key": "valid_key_chat-app"}
                )
                assert answer.status_code == 200
            seq, refused = 0, None
            for _ in range(30):
                reply = await wire.ask("room:full", "publish", {"type": "m", "data": "x" * 60_000})
                if reply.status == "error":
                    refused = reply.refused
                    break
                seq = reply.ok["seq"]
            assert refused is not None
            assert refused["reason"] == "unavailable"
            assert refused["retry_after_ms"] >= 1

            first = (await wire.ask("room:full", "history", {"after": 0, "limit": 10})).ok
            assert [event["seq"] for event in first["events"]] == list(range(1, 11))
            (segment,) = (data / "log").glob("*.seg")
            with segment.open("r+b") as file:
                file.seek(300)
                file.write(b"\xff" * 5000)
            reply = (await wire.ask("room:full", "history", {"after": 0, "limit": 10})).refused
            assert reply["reason"] == "internal"
            assert "Traceback" not in json.dumps(reply)
            assert str(data) not in json.dumps(reply)

            newest = (await wire.ask("room:full", "history", {"limit": 1})).ok
            assert [event["seq"] for event in newest["events"]] == [seq], "no seq was used up"
            await wire.beat()
    finally:
        daemon.kill()
        shutil.rmtree(data, ignore_errors=True)
