"""A program on `phoenix-channels-python-client` (asyncio), run as a process by test_python_phoenix_client.

    python python_phoenix_client.py WEBSOCKET_URL APP TOKEN TOPIC 1.0|2.0

Prints a JSON line per message that the library hands out, and does what it is told on standard input:
`push EVENT JSON`, `leave`, `end`.
"""

import asyncio
import json
import sys
from typing import Any

from phoenix_channels_python_client import PhoenixChannelsProtocolVersion, PHXChannelsClient
from phoenix_channels_python_client.client_types import ReconnectPolicy
from phoenix_channels_python_client.utils import make_message


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


async def told(message: Any) -> None:
    say(event=str(message.event), ref=message.ref, payload=message.payload)


async def main(url: str, app: str, token: str, topic: str, version: str) -> None:
    async def reconnected() -> None:
        say(did="reconnect")

    async def lost(topic: str, error: Exception) -> None:
        say(lost=topic, why=str(error))

    client = PHXChannelsClient(
        f"{url}/socket/websocket?app_id={app}&token={token}",
        "",
        protocol_version=PhoenixChannelsProtocolVersion(version),
        reconnect_policy=ReconnectPolicy(base_delay_s=0.1, rapid_disconnect_uptime_s=0),
        heartbeat_interval_s=0.2,
        on_reconnect=reconnected,
        on_topic_lost=lost,
        on_heartbeat_ack=lambda: say(did="heartbeat"),
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with client:
        await client.subscribe_to_topic(topic, told)
        say(did="join")
        while line := (await reader.readline()).decode().strip():
            match line.split(" ", 2):
                case ["push", event, payload]:
                    # The library only listens; this is the way it sends its own messages.
                    subscription = client.get_current_subscriptions()[topic]
                    message = make_message(event, topic, "push-1", json.loads(payload), subscription.join_ref)
                    await client.get_protocol_handler().send_message(client.connection, message)
                case ["leave"]:
                    await client.unsubscribe_from_topic(topic)
                    say(did="leave")
                case ["end"]:
                    return


asyncio.run(main(*sys.argv[1:]))
