"""Webhooks end to end: a real daemon, receivers that are real servers, verified by a library that is not ours."""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from phoenix_wire import connect
from tenants import Operator, Tenant
from webhook_receiver import OK, Received, Receiver, answer, open_receiver

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
COMMAND = str(Path(sys.executable).with_name("polyglotctl"))
LOOPBACK = {"POLYGLOTD_WEBHOOKS__ALLOW_PRIVATE": "127.0.0.0/8", "POLYGLOTD_DRAIN__SECONDS": "1"}


@pytest.fixture(scope="module")
def hooked() -> Iterator[DaemonProcess]:
    """Shared by those that leave it running."""
    with daemon_process(dev=False, env=LOOPBACK) as daemon:
        yield daemon


@pytest.fixture
def own_hooked() -> Iterator[DaemonProcess]:
    with daemon_process(dev=False, env=LOOPBACK) as daemon:
        yield daemon


async def add(operator: Operator, tenant: Tenant, receiver: Receiver, **body: Any) -> Any:
    path = f"/admin/apps/{tenant.app_id}/webhooks"
    return await operator.ask("POST", path, {"url": receiver.url()} | body)


def path_of(tenant: Tenant, hook: Any, what: str = "") -> str:
    return f"/admin/apps/{tenant.app_id}/webhooks/{hook['webhook_id']}{what}"


def seqs(received: list[Received], channel: str) -> list[int]:
    """In the order of arrival, repeated messages once."""
    seen, found = set(), []
    for one in received:
        if one.message_id not in seen:
            seen.add(one.message_id)
            found += [item["event"]["seq"] for item in one.items if item["event"]["channel"] == channel]
    return found


# --- what is sent ---


async def test_a_published_event_arrives_signed_with_all_that_it_is(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-signed")
        hook = await add(operator, tenant, receiver)
        assert hook["secret"].startswith("whsec_")
        data = {"text": "Hé\u0000", "n": 12345678901234567890123}
        published = await operator.publish(tenant, "room:lobby", data, "message", id="order-1")
        (received, *_) = await receiver.count(1)
        verified = received.verified(hook["secret"])
        assert verified["type"] == "batch"
        (item,) = verified["data"]
        assert item["type"] == "event.published"
        assert re.fullmatch(r"item_[0-9a-f]{24}", item["id"])
        event = item["event"]
        assert (event["id"], event["seq"], event["channel"], event["type"]) == ("order-1", 1, "room:lobby", "message")
        assert event["data"] == data
        assert event["meta"]["ts"] == published["timestamp"]
        assert b"12345678901234567890123" in received.body
        assert (await operator.history(tenant, "room:lobby"))["epoch"] == item["epoch"]


async def test_an_endpoint_gets_what_its_filters_name_in_order_and_nothing_of_other_apps(
    hooked: DaemonProcess,
) -> None:
    async with (
        Operator(hooked) as operator,
        open_receiver() as rooms,
        open_receiver() as orders,
        open_receiver() as all_,
    ):
        one, other = await operator.create("hook-one"), await operator.create("hook-other")
        await add(operator, one, rooms, channels=["room:*"])
        await add(operator, one, orders, event_types=["order"])
        await add(operator, other, all_)
        for number in range(1, 61):
            channel = "room:a" if number % 2 else "post:b"
            await operator.publish(one, channel, number, "order" if number % 3 == 0 else "message")
        await operator.publish(one, "ticker:x", 1)  # a memory kind: in no webhook
        await operator.publish(other, "room:a", "theirs")
        await operator.publish(one, "room:a", "last", "order")
        for receiver in (rooms, orders):
            await receiver.wait_for(lambda r: any(b'"last"' in one.body for one in r.received))
        await all_.count(1)
        assert seqs(rooms.received, "room:a") == list(range(1, 32))
        assert seqs(rooms.received, "post:b") == []
        assert seqs(orders.received, "room:a") == [2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 31]
        assert seqs(orders.received, "post:b") == [3 * n for n in range(1, 11)]
        assert [item["event"]["app_id"] for r in all_.received for item in r.items] == ["hook-other"]


async def test_an_endpoint_hears_of_occupied_channels_and_members_but_not_of_a_reconnect(
    own_hooked: DaemonProcess,
) -> None:
    """Nor of a restart of the daemon, after which the member comes back."""

    def told(receiver: Receiver) -> list[str]:
        # By its id: what was sent just before the kill may come again.
        items = {item["id"]: item for one in receiver.received for item in one.items}.values()
        return sorted(f"{item['type']} {item['channel']} {item.get('user_id', '')}".strip() for item in items)

    everything = ["channel.occupied", "channel.vacated", "member.joined", "member.left"]
    here = ["channel.occupied room:a", "member.joined room:a ann"]
    async with open_receiver() as receiver:
        async with Operator(own_hooked) as operator:
            tenant = await operator.create("hook-members")
            await add(operator, tenant, receiver, types=everything)
        token = tenant.token("ann")
        async with connect(own_hooked.port, token, app_id=tenant.app_id) as ann:
            await ann.join("room:a")
            await receiver.wait_for(lambda r: len(told(r)) == 2)
            assert told(receiver) == here
        async with connect(own_hooked.port, token, app_id=tenant.app_id) as ann:
            await ann.join("room:a")
        await trio.to_thread.run_sync(own_hooked.restart)
        async with connect(own_hooked.port, token, app_id=tenant.app_id) as ann:
            await ann.join("room:a")
            await ann.join("room:b")  # that this is told says that the join before it was passed over
            await receiver.wait_for(lambda r: "member.joined room:b ann" in told(r))
            assert told(receiver) == sorted([*here, "channel.occupied room:b", "member.joined room:b ann"])
        await receiver.wait_for(lambda r: len(told(r)) == 8)
        assert told(receiver)[2:4] == ["channel.vacated room:a", "channel.vacated room:b"]
        assert told(receiver)[6:] == ["member.left room:a ann", "member.left room:b ann"]


async def test_many_events_come_in_batches_each_once_and_in_order(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-many")
        await add(operator, tenant, receiver)
        events = [{"channel": f"room:{n % 7}", "type": "m", "data": n} for n in range(1_000)]
        for _ in range(3):
            made = await operator.http.post(f"{tenant.url}/publish", json={"events": events}, headers=tenant.by_key)
            assert made.status_code == 200
        await receiver.wait_for(lambda r: sum(len(one.items) for one in r.received) >= 3_000)
        found = Counter(item["id"] for one in receiver.received for item in one.items)
        assert len(found) == 3_000
        assert set(found.values()) == {1}
        for n in range(7):
            assert seqs(receiver.received, f"room:{n}") == list(
                range(1, 1 + sum(3 for m in range(1_000) if m % 7 == n))
            )
        assert len(receiver.received) < 300


async def test_an_endpoint_hears_once_that_a_quota_is_nearly_used_up_and_once_that_it_is(
    hooked: DaemonProcess,
) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-quota", quota={"events_per_month": 10})
        await add(operator, tenant, receiver, types=["quota.reached"], channels=["post:*"])
        for number in range(10):
            await operator.publish(tenant, "room:a", number)
        await receiver.wait_for(lambda r: sum(len(one.items) for one in r.received) >= 2)
        items = [item for one in receiver.received for item in one.items]
        assert [(item["type"], item["quota"], item["percent"], item["limit"]) for item in items] == [
            ("quota.reached", "events-per-month", 80, 10), ("quota.reached", "events-per-month", 100, 10),
        ]  # fmt: skip
        assert len({item["id"] for item in items}) == 2


# --- the operator's side ---


async def test_a_webhook_is_shown_changed_tested_and_removed_and_its_secret_shown_once(
    hooked: DaemonProcess,
) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-api")
        hook = await add(operator, tenant, receiver, name="mine", types=["member.joined", "event.published"])
        shown = await operator.ask("GET", path_of(tenant, hook))
        assert (shown["name"], shown["enabled"], shown["types"]) == (
            "mine", True, ["member.joined", "event.published"],
        )  # fmt: skip
        assert "secret" not in shown
        tested = await operator.ask("POST", path_of(tenant, hook, "/test"), {})
        assert (tested["delivered"], tested["status"]) == (True, 204)
        assert receiver.received[0].verified(hook["secret"])["data"][0]["type"] == "webhook.test"
        receiver.reply = answer(500, body=b"no such table: users")
        tested = await operator.ask("POST", path_of(tenant, hook, "/test"), {})
        assert (tested["delivered"], tested["status"], tested["answer"]) == (False, 500, "no such table: users")
        receiver.reply = OK
        changed = await operator.ask("PATCH", path_of(tenant, hook), {"enabled": False, "channels": ["post:*"]})
        assert (changed["enabled"], changed["channels"], changed["name"]) == (False, ["post:*"], "mine")
        await operator.publish(tenant, "post:1", "while it is off")
        await operator.ask("PATCH", path_of(tenant, hook), {"enabled": True})
        await operator.publish(tenant, "post:1", "on again")
        received = (await receiver.count(3))[2]
        assert [item["event"]["data"] for item in received.items] == ["on again"]
        (listed,) = (await operator.ask("GET", f"/admin/apps/{tenant.app_id}/webhooks"))["webhooks"]
        assert listed["webhook_id"] == hook["webhook_id"]
        await operator.ask("DELETE", path_of(tenant, hook), status=204)
        await operator.ask("GET", path_of(tenant, hook), status=404)


async def test_what_makes_no_webhook_is_refused_with_its_field(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator:
        tenant = await operator.create("hook-refused")
        path = f"/admin/apps/{tenant.app_id}/webhooks"
        for field, body in (
            ("url", {"url": "https://10.0.0.1/"}),
            ("url", {"url": "https://example.com/\r\nX-Injected: 1"}),
            ("url", {"url": "https://user:pw@example.com/"}),
            ("types", {"url": "https://example.com/", "types": ["event.deleted"]}),
            ("types", {"url": "https://example.com/", "types": []}),
            ("channels", {"url": "https://example.com/", "channels": ["*"]}),
            ("event_types", {"url": "https://example.com/", "event_types": ["a b"]}),
            ("secret", {"url": "https://example.com/", "secret": "whsec_short"}),
            ("colour", {"url": "https://example.com/", "colour": "red"}),
        ):
            assert (await operator.ask("POST", path, body, status=422))["field"] == field
        assert (await operator.ask("GET", path))["webhooks"] == []
        await operator.ask("POST", "/admin/apps/nobody-here/webhooks", {"url": "https://example.com/"}, status=404)


async def test_one_apps_webhook_is_no_other_apps(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        mine, other = await operator.create("hook-mine"), await operator.create("hook-theirs")
        hook = await add(operator, mine, receiver)
        for method, what, body in (
            ("GET", "", None), ("PATCH", "", {"enabled": False}), ("DELETE", "", None), ("POST", "/test", {}),
            ("POST", "/rotate", {}), ("GET", "/deliveries", None), ("GET", "/dead-letters", None),
            ("POST", "/replay", {}), ("GET", "/dead-letters/msg_1", None),
        ):  # fmt: skip
            await operator.ask(method, path_of(other, hook, what), body, status=404)
        key = await operator.http.get(path_of(mine, hook), headers=mine.by_key)
        assert key.status_code == 403
        assert (await operator.ask("GET", path_of(mine, hook)))["enabled"]
        assert receiver.received == []


async def test_after_a_rotation_messages_carry_both_signatures(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-rotate")
        hook = await add(operator, tenant, receiver)
        new = await operator.ask("POST", path_of(tenant, hook, "/rotate"), {"grace_s": 3_600})
        assert new["secret"] != hook["secret"]
        assert len(new["old_secrets_expire"]) == 1
        await operator.publish(tenant, "room:a", 1)
        (received, *_) = await receiver.count(1)
        received.verified(hook["secret"])
        received.verified(new["secret"])


async def test_an_endpoint_that_says_410_is_disabled(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver(answer(410)) as receiver:
        tenant = await operator.create("hook-gone")
        hook = await add(operator, tenant, receiver)
        await operator.publish(tenant, "room:a", 1)
        await receiver.count(1)
        with trio.fail_after(20):
            while (shown := await operator.ask("GET", path_of(tenant, hook)))["enabled"] or not shown["state"][
                "dead"
            ]:
                await trio.sleep(0.05)
        assert shown["disabled_why"] == "it answered 410 Gone"
        (tried,) = (await operator.ask("GET", path_of(tenant, hook, "/deliveries")))["deliveries"]
        assert (tried["status"], tried["attempt"], tried["items"]) == (410, 1, 1)
        (letter,) = (await operator.ask("GET", path_of(tenant, hook, "/dead-letters")))["dead_letters"]
        assert letter["why"] == "it answered 410 Gone"
        content = await operator.ask("GET", path_of(tenant, hook, f"/dead-letters/{letter['message_id']}"))
        assert content["data"][0]["event"]["data"] == 1
        # Once it is enabled again its dead letter can be sent again, under the id that it had.
        receiver.reply = OK
        await operator.ask("PATCH", path_of(tenant, hook), {"enabled": True})
        assert await operator.ask("POST", path_of(tenant, hook, "/replay"), {}) == {"messages": 1}
        again = (await receiver.count(2))[1]
        assert again.message_id == receiver.received[0].message_id == letter["message_id"]
        assert again.body == receiver.received[0].body


async def test_an_import_of_what_is_older_than_an_endpoint_is_not_for_it(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator, open_receiver() as receiver:
        tenant = await operator.create("hook-import")
        await add(operator, tenant, receiver)
        events = [{"id": "old", "type": "m", "ts": "2026-01-02T03:04:05Z", "data": '"old"'}]
        run = {"channel": "room:past", "epoch": "abc", "first_seq": 1, "events": events}
        path = f"/admin/apps/{tenant.app_id}/events/import"
        assert (await operator.ask("POST", path, {"runs": [run]}))["results"] == [{"imported": 1, "duplicates": 0}]
        await operator.publish(tenant, "room:now", "new")
        await receiver.count(1)  # the import stands before it in the log
        assert [item["event"]["data"] for one in receiver.received for item in one.items] == ["new"]


async def test_metrics_say_what_came_of_messages(own_hooked: DaemonProcess) -> None:
    """The processor that sends them is a process of its own."""
    wanted = {
        'attempts_total{outcome="succeeded"}': 2.0,
        'attempts_total{outcome="failed"}': 1.0,
        'messages_total{outcome="delivered"}': 2.0,
        'messages_total{outcome="dead"}': 1.0,
        "items_delivered_total": 2.0,
        "endpoints": 1.0,  # the other one wants nothing more
        "circuits_open": 0.0,
        'sending_messages{lane="well"}': 0.0,
        'due_messages{lane="failing"}': 0.0,
    }
    async with (
        Operator(own_hooked) as operator,
        open_receiver() as receiver,
        open_receiver(answer(410)) as gone,
    ):
        tenant = await operator.create("hook-metrics")
        await add(operator, tenant, receiver)
        await add(operator, tenant, gone)
        for number in (1, 2):
            await operator.publish(tenant, "room:a", number)
            await receiver.count(number)
        shown: dict[str, float] = {}
        with trio.fail_after(20):
            while shown != wanted:
                text = (await operator.http.get("/metrics", headers=operator.credentials)).text
                found = dict(re.findall(r"^polyglot_webhook_(\S+) (\S+)$", text, re.MULTILINE))
                shown = {name: float(found[name]) for name in wanted if name in found}
                await trio.sleep(0.05)


def test_the_command_line_manages_webhooks(hooked: DaemonProcess) -> None:
    def ctl(*args: str, code: int = 0) -> Any:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POLYGLOT_")}
        done = subprocess.run(
            [COMMAND, *args], env=environment | {"POLYGLOT_DATA": str(hooked.data)}, capture_output=True, text=True,
            timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    ctl("tenant", "create", "hook-ctl")
    hook = ctl(
        "webhook", "add", "hook-ctl", "http://127.0.0.1:9/", "--channel", "room:*", "--type", "channel.occupied"
    )
    webhook_id = hook["webhook_id"]
    assert ctl("webhook", "list", "hook-ctl")["webhooks"][0]["channels"] == ["room:*"]
    assert ctl("webhook", "set", "hook-ctl", webhook_id, "--all-channels", "--disable")["channels"] == []
    assert ctl("webhook", "test", "hook-ctl", webhook_id, code=1)["delivered"] is False
    assert ctl("webhook", "deliveries", "hook-ctl", webhook_id, "--dead")["dead_letters"] == []
    assert ctl("webhook", "replay", "hook-ctl", webhook_id, "--all") == {"messages": 0}
    assert ctl("webhook", "rotate", "hook-ctl", webhook_id, "--grace", "1h")["secret"] != hook["secret"]
    assert ctl("webhook", "remove", "hook-ctl", webhook_id, "--yes")["removed"] is True


# --- faults ---


async def test_an_endpoint_that_hangs_and_one_that_is_away_delay_no_other(hooked: DaemonProcess) -> None:
    async def hang(received: Received, stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)

    async with Operator(hooked) as operator, open_receiver(hang) as hanging, open_receiver() as well:
        tenant = await operator.create("hook-slow")
        async with open_receiver() as away:
            pass
        for receiver in (hanging, away, well):
            await add(operator, tenant, receiver)
        for number in range(20):
            await operator.publish(tenant, "room:a", number)
            await well.wait_for(lambda r, n=number: len(seqs(r.received, "room:a")) > n, within_s=10)
        assert len(hanging.received) == 1
        assert seqs(well.received, "room:a") == list(range(1, 21))


async def test_what_an_endpoint_missed_comes_in_order_when_it_is_back(hooked: DaemonProcess) -> None:
    async with Operator(hooked) as operator:
        async with open_receiver(answer(503)) as receiver:
            tenant = await operator.create("hook-back")
            hook = await add(operator, tenant, receiver)
            await operator.publish(tenant, "room:a", 1)
            first = (await receiver.count(1))[0]
            port = receiver.port
        for number in range(2, 30):
            await operator.publish(tenant, "room:a", number)
        async with open_receiver(port=port) as receiver:
            await receiver.wait_for(lambda r: len(seqs(r.received, "room:a")) == 29)
            assert seqs(receiver.received, "room:a") == list(range(1, 30))
            again = receiver.received[0]
            assert (again.message_id, again.body) == (first.message_id, first.body)
            again.verified(hook["secret"])
        tried = (await operator.ask("GET", path_of(tenant, hook, "/deliveries")))["deliveries"]
        assert tried[-1]["status"] == 503
        assert tried[-1]["message_id"] == first.message_id


async def test_kill_9_at_any_time_loses_no_event_and_no_message_changes(own_hooked: DaemonProcess) -> None:
    """Each acknowledged event arrives; a message that comes again has its id and its content; channels keep order."""
    seed = int(os.environ.get("POLYGLOT_TEST_SEED", random.randrange(1 << 32)))
    print(f"POLYGLOT_TEST_SEED={seed}")
    rng = random.Random(seed)
    rounds = 40 if FULL else 4
    acknowledged: Counter[str] = Counter()

    async def flaky(received: Received, stream: trio.abc.Stream) -> None:
        if rng.random() < 0.2:
            await trio.aclose_forcefully(stream)  # taken, and not told so
        else:
            await OK(received, stream)

    async with open_receiver(flaky) as receiver:
        async with Operator(own_hooked) as operator:
            tenant = await operator.create("hook-kill")
            await add(operator, tenant, receiver)
        for _ in range(rounds):
            async with Operator(own_hooked) as operator:
                for _ in range(rng.randrange(5, 40)):
                    channel = f"room:{rng.randrange(3)}"
                    published = await operator.publish(tenant, channel, "x")
                    acknowledged[channel] = published["seq"]
            await trio.to_thread.run_sync(own_hooked.restart)
        await receiver.wait_for(
            lambda r: all(
                seq in seqs(r.received, channel) for channel, last in acknowledged.items() for seq in (1, last)
            ),
            within_s=60,
        )
        contents: dict[str, bytes] = {}
        for one in receiver.received:
            assert contents.setdefault(one.message_id, one.body) == one.body
        for channel, last in acknowledged.items():
            assert seqs(receiver.received, channel) == list(range(1, last + 1))
