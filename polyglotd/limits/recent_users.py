"""Users seen in the last minute, who don't count against `connects-per-second` of their app.

So a network that drops for a moment, or a node that drains, lets everybody come back at once. The gateway marks a
user at each connect and at each disconnect, one table per app. Bounded: past `users_max` the one marked longest ago
is forgotten, and its next connect counts like a new user's.
"""

from collections import OrderedDict

WINDOW_US = 60_000_000
USERS_MAX = 100_000


class RecentUsers:
    def __init__(self, *, window_us: int = WINDOW_US, users_max: int = USERS_MAX) -> None:
        self._window_us = window_us
        self._users_max = users_max
        self._marked_us: OrderedDict[str, int] = OrderedDict()  # longest ago first

    def __len__(self) -> int:
        return len(self._marked_us)

    def mark(self, user_id: str, now_us: int) -> None:
        """The user was here at this moment. Times rise from call to call."""
        self._marked_us[user_id] = now_us
        self._marked_us.move_to_end(user_id)
        if len(self._marked_us) > self._users_max:
            self._marked_us.popitem(last=False)
        while (oldest := next(iter(self._marked_us))) and self._marked_us[oldest] <= now_us - self._window_us:
            del self._marked_us[oldest]

    def seen(self, user_id: str, now_us: int) -> bool:
        """Whether the user was marked within the last minute."""
        marked_us = self._marked_us.get(user_id)
        return marked_us is not None and marked_us > now_us - self._window_us
