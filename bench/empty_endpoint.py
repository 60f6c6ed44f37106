"""The floor under the HTTP figures: hypercorn's trio worker with an app that does nothing but read and answer."""

import socket
import sys
from typing import Any

import hypercorn
import hypercorn.trio
import trio

ANSWER = b'{"id":"evt_01jdabcdefghjkmnpqrstvwxyz","seq":1,"timestamp":"2026-11-23T08:15:30.123456Z"}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body; answer with as many bytes as a publish does."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


async def main() -> None:
    """Serve on a free port of loopback and say which."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        config = hypercorn.Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.accesslog = None
        config.keep_alive_max_requests = 1_000_000_000
        config.include_server_header = False
        print(f"listening {listener.getsockname()[1]}", file=sys.stderr, flush=True)
        await hypercorn.trio.serve(app, config)


if __name__ == "__main__":
    trio.run(main)
