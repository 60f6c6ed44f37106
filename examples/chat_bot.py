"""A chat bot in Python: joins a room over the WebSocket, answers who says hello, resumes after a lost connection.

Run it beside `make run`:  .venv/bin/python examples/chat_bot.py room:lobby
It speaks the Phoenix protocol by hand, to show how little there is to it: arrays of
[join_ref, ref, topic, event, payload].
"""

import itertools
import json
import os
import sys

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, open_websocket_url

URL = os.environ.get("POLYGLOT_URL", "http://localhost:4000").replace("http", "ws", 1)
APP = os.environ.get("POLYGLOT_APP", "chat-app")
TOKEN = os.environ.get("POLYGLOT_TOKEN", "valid_token_bot")  # your backend signs one; this is development mode's
HEARTBEAT_S = 30


async def talk(channel: str, place: dict[str, object]) -> None:
    """One connection. `place` holds the epoch and seq of the last event seen, for the next one to resume from."""
    async with open_websocket_url(f"{URL}/socket/websocket?vsn=2.0.0&app_id={APP}&token={TOKEN}") as socket:
        refs = (str(number) for number in itertools.count(1))
        params = {"since": dict(place)} if place else {}
        await send(socket, ["1", next(refs), channel, "phx_join", params])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat, socket)
            while True:
                _, _, _, event, payload = json.loads(await socket.get_message())
                if event == "phx_reply" and payload["status"] == "error":
                    raise SystemExit(f"refused: {payload['response']}")
                if event == "phx_reply" and "epoch" in payload["response"]:
                    joined = payload["response"]
                    missed = joined.get("events", [])
                    print(f"joined {channel}, {len(missed)} missed", flush=True)
                    if place.get("epoch") != joined["epoch"]:
                        place["epoch"], place["seq"] = joined["epoch"], joined["seq"]
                    for event_missed in missed:
                        await answer(socket, channel, event_missed, place, next(refs))
                elif event == "event":
                    await answer(socket, channel, payload, place, next(refs))
                elif event == "phx_error":  # a new epoch, for example: join again
                    await send(socket, ["1", next(refs), channel, "phx_join", {"since": dict(place)}])


async def answer(socket: WebSocketConnection, channel: str, event: dict, place: dict[str, object], ref: str) -> None:
    place["seq"] = event["seq"]
    text = event["data"].get("text", "") if isinstance(event["data"], dict) else ""
    user = event["meta"]["user_id"]
    if user != "bot" and "hello" in text.lower():
        # The id is made from the event that is answered: a repeat after a reconnect is delivered once.
        reply = {"type": "message", "data": {"text": f"Hello, {user or 'API'}!"}, "id": f"answer-to-{event['seq']}"}
        await send(socket, ["1", ref, channel, "publish", reply])


async def heartbeat(socket: WebSocketConnection) -> None:
    while True:
        await trio.sleep(HEARTBEAT_S)
        await send(socket, [None, "heartbeat", "phoenix", "heartbeat", {}])


async def send(socket: WebSocketConnection, message: list) -> None:
    await socket.send_message(json.dumps(message))


async def main(channel: str) -> None:
    place: dict[str, object] = {}
    while True:
        try:
            await talk(channel, place)
        except* (ConnectionClosed, HandshakeError, OSError) as lost:
            print(f"connection lost ({lost.exceptions[0]!r}), trying again", flush=True)
        await trio.sleep(1)


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "room:lobby")
    except KeyboardInterrupt:
        sys.exit(130)
