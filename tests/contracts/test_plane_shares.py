"""The driver's border while the gateway is behind: an app that keeps it busiest waits, others are still heard.

Not the Python plane's: there the gateway runs between any two messages, so it is behind for all or for none.
"""

import json
from urllib.parse import parse_qs

import trio
import wsproto.events
from plane_client import PATIENCE_S, open_client
from plane_rig import GENEROUS, KINDS, Rig, open_native

from polyglotd.plane.interface import Accept, Admit, ConfigureApp, Connect, Join, OpenTopic, Push

OTHER = "other"
OTHERS_TOPIC = 1_000


def serve_another_app(rig: Rig) -> None:
    """Whose clients are those with the token `other`, on the channel `room:other`."""
    accept, admit = rig.automatic[Connect], rig.automatic[Join]
    others: set[int] = set()

    def accept_either(record: Connect) -> None:
        if parse_qs(record.query)["token"] != [OTHER]:
            accept(record)
            return
        others.add(record.conn)
        rig.submit(Accept(record.conn, OTHER, OTHER))

    def admit_either(record: Join) -> None:
        if record.conn not in others:
            admit(record)
            return
        rig.submit(Admit(record.conn, record.sub, OTHERS_TOPIC, True, True, None, None, True))

    rig.submit(
        ConfigureApp(OTHER, GENEROUS, GENEROUS.publishes_per_app),
        OpenTopic(OTHERS_TOPIC, OTHER, "room:other", KINDS["queue"], "epoch", 0, []),
    )
    rig.automatic |= {Connect: accept_either, Join: admit_either}


async def test_while_the_gateway_is_behind_an_app_within_its_share_is_heard_and_nothing_is_lost() -> None:
    async with (
        open_native(records_unread_max=60, silence_s=0.3) as rig,
        open_client(rig.address) as loud,
    ):
        serve_another_app(rig)
        async with open_client(rig.address, f"token={OTHER}") as quiet:
            await loud.join("room:a")
            await quiet.join("room:other")
            frames_before = rig.plane.counters().frames_in_total

            async def frames(count: int) -> None:
                with trio.fail_after(PATIENCE_S):
                    while rig.plane.counters().frames_in_total - frames_before < count:
                        await trio.sleep(0.002)

            async with rig.deaf(), trio.open_nursery() as nursery:

                async def flood() -> None:
                    for n in range(200):
                        await loud.push("room:a", "history", {"limit": n})

                nursery.start_soon(flood)
                await frames(30)
                for _ in range(6):  # longer than silence is allowed to last
                    await trio.sleep(0.1)
                    await quiet.send_event(wsproto.events.Ping())
                assert rig.plane.counters().frames_in_total - frames_before == 30
                for n in range(10):
                    await quiet.push("room:other", "history", {"limit": n})
                await frames(40)
                assert rig.plane.counters().frames_in_total - frames_before == 40
            pushes = [await rig.heard(Push) for _ in range(210)]
            assert [limit_of(push) for push in pushes if push.topic != OTHERS_TOPIC] == list(range(200))
            assert [limit_of(push) for push in pushes if push.topic == OTHERS_TOPIC] == list(range(10))


def limit_of(push: Push) -> int:
    limit: int = json.loads(push.payload)["limit"]
    return limit
