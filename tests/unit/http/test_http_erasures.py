"""Erasing over HTTP: what it answers, who may, and what history shows from then on."""

import json
from typing import Any

import pytest
import trio
from http_rig import APP, JSON, ROOM, HttpRig, Response

from polyglotd.model import Event, now_us, tombstone


async def erase(rig: HttpRig, target: str, **more: Any) -> Response:
    return await rig.call("DELETE", target, **({"key": rig.key} | more))


async def history(rig: HttpRig, where: str = ROOM) -> list[Any]:
    return list((await rig.call("GET", where + "/history", key=rig.key)).json["events"])


def stored(rig: HttpRig, seq: int, **fields: Any) -> Event:
    """An event of a past epoch, which the store alone has."""
    values = {"id": f"own-{seq}", "user_id": None, "epoch": "past"} | fields
    event = Event(
        app_id=APP, channel="room:lobby", seq=seq, type="m", data=b'"secret"', ts_us=now_us() + seq, **values
    )  # type: ignore[arg-type]
    rig.store.events.append(event)
    return event


async def test_one_event_is_erased_with_a_tombstone_in_its_place(rig: HttpRig) -> None:
    first, second = [(await rig.publish()).json for _ in range(2)]
    before = await history(rig)
    answer = await erase(rig, f"{ROOM}/events/{first['id']}")
    assert answer.status == 202
    found = answer.json
    assert (found["app_id"], found["what"], found["channel"], found["seq"]) == (APP, "event", "room:lobby", 1)
    assert found["reached"] == {"window": True, "log": False, "store": False, "webhooks": False}
    assert (found["done"], found["before"], found["user"]) == (False, None, None)
    after = await history(rig)
    assert after[1] == before[1]
    assert after[1]["id"] == second["id"]
    ts = before[0]["meta"]["ts"]
    assert after[0] == before[0] | {"type": "erased", "data": None, "meta": {"user_id": None, "ts": ts}}
    [asked] = rig.log.erasures()
    assert asked.erasure.erasure_id == found["erasure_id"], "it is in the log"


async def test_an_event_that_only_the_store_has_is_found(rig: HttpRig) -> None:
    event = stored(rig, 7)
    assert (await erase(rig, f"{ROOM}/events/{event.id}")).json["epoch"] == "past"
    assert rig.log.shown(event) == tombstone(event)


async def test_an_id_that_several_users_gave_needs_the_seq(rig: HttpRig) -> None:
    for user in ("ann", "bob"):
        body = b'{"type":"m","id":"mine"}'
        await rig.call("POST", ROOM + "/publish", body, JSON | {"x-user-id": user}, key=rig.key)
    answer = await erase(rig, f"{ROOM}/events/mine")
    assert (answer.status, answer.json["code"], answer.json["seqs"]) == (409, "conflict", [1, 2])
    assert not rig.log.erasures()
    assert (await erase(rig, f"{ROOM}/events/mine?seq=2")).json["seq"] == 2
    assert [event["type"] for event in await history(rig)] == ["m", "erased"]
    assert (await erase(rig, f"{ROOM}/events/mine?seq=3")).status == 404


async def test_an_event_of_the_current_epoch_goes_before_one_of_the_past(rig: HttpRig) -> None:
    stored(rig, 1, id="mine")
    await rig.publish(body=b'{"type":"m","id":"mine"}')
    answer = await erase(rig, f"{ROOM}/events/mine")
    assert answer.status == 202
    assert answer.json["epoch"] != "past"


async def test_a_repeat_after_erasing_is_still_a_duplicate(rig: HttpRig) -> None:
    first = (await rig.publish(body=b'{"type":"m","id":"mine"}')).json
    await erase(rig, f"{ROOM}/events/mine")
    again = (await rig.publish(body=b'{"type":"m","id":"mine"}')).json
    assert again == first | {"duplicate": True}


async def test_a_history_is_erased_up_to_now(rig: HttpRig) -> None:
    for _ in range(3):
        await rig.publish()
    answer = (await erase(rig, f"{ROOM}/history")).json
    await rig.publish()
    assert (answer["what"], answer["before"], answer["seq"]) == ("history", 4, None)
    assert [(event["seq"], event["type"]) for event in await history(rig)] == [
        (1, "erased"),
        (2, "erased"),
        (3, "erased"),
        (4, "message"),
    ]


async def test_a_history_of_a_channel_that_nobody_has_open_is_erased_in_log_and_store(rig: HttpRig) -> None:
    event = stored(rig, 1)
    answer = await erase(rig, f"{ROOM}/history")
    assert answer.status == 202
    assert rig.log.shown(event) == tombstone(event)


async def test_a_memory_kinds_events_are_erased_as_well(rig: HttpRig) -> None:
    where = f"/apps/{APP}/channels/match:1"
    first = (await rig.publish("match:1")).json
    await rig.publish("match:1")
    assert (await erase(rig, f"{where}/events/{first['id']}")).status == 202
    assert [event["type"] for event in await history(rig, where)] == ["erased", "message"]
    await erase(rig, f"{where}/history")
    assert [event["type"] for event in await history(rig, where)] == ["erased", "erased"]


async def test_a_users_events_are_erased_in_every_channel(rig: HttpRig) -> None:
    for channel in ("room:lobby", "room:other", "match:1"):
        for user in ("ann", "bob"):
            where = f"/apps/{APP}/channels/{channel}/publish"
            await rig.call("POST", where, b'{"type":"m"}', JSON | {"x-user-id": user}, key=rig.key)
    answer = (await erase(rig, f"/apps/{APP}/users/ann/events")).json
    assert (answer["what"], answer["user"], answer["channel"], answer["seq"]) == ("user", "ann", None, None)
    for channel in ("room:lobby", "room:other", "match:1"):
        found = await history(rig, f"/apps/{APP}/channels/{channel}")
        assert [(event["type"], event["meta"]["user_id"]) for event in found] == [("erased", None), ("m", "bob")]


async def test_an_erasure_can_be_watched_until_it_is_done(rig: HttpRig) -> None:
    first = (await rig.publish()).json
    asked = (await erase(rig, f"{ROOM}/events/{first['id']}")).json
    where = f"/apps/{APP}/erasures/{asked['erasure_id']}"

    async def reached(**wanted: bool) -> Any:
        return await rig.until(lambda found: wanted.items() <= found["reached"].items(), where)

    rig.store.erasing.append(asked["erasure_id"])
    rig.store.position = 10**9
    await reached(webhooks=True)
    rig.log.readers["webhooks"] = -1
    await reached(webhooks=False, store=False, log=False)
    rig.log.asked.rewritten(rig.log.asked.unwritten(), {})
    await reached(log=True, store=False)
    rig.store.erasing.clear()
    await reached(store=True)
    rig.log.readers["webhooks"] = 10**9
    assert (await reached(webhooks=True))["done"] is True
    listed = (await rig.call("GET", f"/apps/{APP}/erasures", key=rig.key)).json
    assert [one["erasure_id"] for one in listed["erasures"]] == [asked["erasure_id"]]


async def test_a_log_that_takes_nothing_erases_nothing(rig: HttpRig) -> None:
    first = (await rig.publish()).json
    rig.log.failed = "the disk is gone"
    assert (await erase(rig, f"{ROOM}/events/{first['id']}")).status == 503
    assert [event["type"] for event in await history(rig)] == ["message"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"{ROOM}/events/evt_01jdabcdefghjkmnpqrstvwxyz", 404),
        (f"{ROOM}/events/{'x' * 65}", 422),
        (f"{ROOM}/events/mine?seq=0", 422),
        (f"{ROOM}/events/mine?all=1", 422),
        (f"{ROOM}/history?before=3", 422),
        (f"/apps/{APP}/channels/nokind:1/history", 404),
        (f"/apps/{APP}/channels/nokind:1/events/mine", 404),
        (f"/apps/{APP}/channels/room/history", 422),
        (f"/apps/{APP}/users/{'x' * 129}/events", 422),
    ],
)
async def test_what_can_t_be_erased_is_refused(rig: HttpRig, target: str, status: int) -> None:
    assert (await erase(rig, target)).status == status
    assert not rig.log.erasures()


TARGETS = [
    ("DELETE", f"{ROOM}/events/mine"),
    ("DELETE", f"{ROOM}/history"),
    ("DELETE", f"/apps/{APP}/users/ann/events"),
    ("GET", f"/apps/{APP}/erasures"),
    ("GET", f"/apps/{APP}/erasures/era_1"),
]


@pytest.mark.parametrize(("method", "target"), TARGETS)
async def test_it_takes_the_scope_for_it(rig: HttpRig, method: str, target: str) -> None:
    await rig.publish(body=b'{"type":"m","id":"mine"}')
    weak = await rig.another_key("publish", "read", "presence")
    assert (await rig.call(method, target, key=weak)).status == 403
    assert (await rig.call(method, target, bearer=rig.token())).status == 403
    assert (await rig.call(method, target)).status == 401
    other = await rig.tenant("other")
    assert (await rig.call(method, target, key=other)).status == 401
    assert not rig.log.erasures()
    strong = await rig.another_key("admin:app")
    assert (await rig.call(method, target, key=strong)).status in (200, 202, 404)


async def test_an_erasure_of_another_app_is_not_there(rig: HttpRig) -> None:
    first = (await rig.publish()).json
    asked = (await erase(rig, f"{ROOM}/events/{first['id']}")).json
    other = await rig.tenant("other")
    found = await rig.call("GET", f"/apps/other/erasures/{asked['erasure_id']}", key=other)
    assert found.status == 404
    assert (await rig.call("GET", "/apps/other/erasures", key=other)).json["erasures"] == []


async def test_members_of_the_channel_are_told(rig: HttpRig) -> None:
    first = (await rig.publish()).json
    async with rig.stream(ROOM + "/events", key=rig.key) as stream:
        await rig.until(lambda found: found["subscriptions"] == 1, ROOM)
        await erase(rig, f"{ROOM}/events/{first['id']}")
        await erase(rig, f"{ROOM}/history")
        await erase(rig, f"/apps/{APP}/users/ann/events")
        told = []
        with trio.fail_after(5):
            while len(told) < 2:
                piece = await stream.piece()
                told += [line[6:] for line in piece.splitlines() if line.startswith(b"data: ")]
        payloads = [json.loads(one) for one in told]
        assert payloads[0] == {"id": first["id"], "epoch": payloads[1]["epoch"], "seq": 1}
        assert payloads[1] == {"epoch": payloads[1]["epoch"], "before": 2}
