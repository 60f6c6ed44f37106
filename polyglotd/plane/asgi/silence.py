"""Which sockets said nothing for too long: one deadline for all of them.

A deadline for each read would cost more than answering the heartbeat that was read. All sockets may be silent
equally long, so that who is heard goes to the end of the line, and only its head is ever looked at. Run by the plane,
filled by the readers of sockets. It does not close: what it calls does.
"""

from collections import OrderedDict
from collections.abc import Callable

import trio


class SilenceWatch:
    """Of callbacks by the number of their connection: each is called once, and forgotten before."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._since: OrderedDict[int, tuple[float, Callable[[], None]]] = OrderedDict()  # longest silent first
        self._any = trio.Event()

    def listen(self, conn: int, silent: Callable[[], None]) -> None:
        """From now on the connection has `silence_s` to say something."""
        self._since[conn] = (trio.current_time(), silent)
        self._since.move_to_end(conn)
        self._any.set()

    def forget(self, conn: int) -> None:
        """It is not listened to: it was heard, it is held back, or it is gone."""
        self._since.pop(conn, None)

    async def run(self) -> None:
        while True:
            while self._since:
                conn, (since, silent) = next(iter(self._since.items()))
                if since + self._silence_s <= trio.current_time():
                    del self._since[conn]
                    silent()
                else:
                    # Nobody's time is up sooner, whoever comes or goes meanwhile.
                    await trio.sleep_until(since + self._silence_s)
            self._any = trio.Event()
            await self._any.wait()
