"""The end of a gateway's service: nobody new is let in, and those who are there are sent away one by one.

Spread over the drain time, so that the nodes that take them over are not hit by all at once. Run by the daemon before
it cancels the rest.
"""

import random

import trio

from polyglotd.gateway.admission import DRAINING, Admission
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.plane.interface import Disconnect, Notice, StopAccepting

SERVICE_RESTART = 1012  # clients come back by themselves after it; not all do after 1000
SPREAD = 0.8  # of the drain time; the rest is for the last to leave
STEP_S = 0.05


async def drain(port: PlanePort, admission: Admission, connections: Connections, seconds: float) -> None:
    """Return when every connection is gone, or after `seconds`."""
    admission.closed_for = DRAINING
    port.send(StopAccepting(), Notice(None, "draining", "the server goes away; reconnect, and resume with since"))
    waiting = list(connections)
    random.shuffle(waiting)
    steps = max(1, int(seconds * SPREAD / STEP_S))
    each = -(-len(waiting) // steps)
    with trio.move_on_after(seconds):
        while waiting:
            leaving, waiting = waiting[:each], waiting[each:]
            port.send(*(Disconnect(c.conn, SERVICE_RESTART, DRAINING) for c in leaving))
            await trio.sleep(STEP_S)
        await connections.all_gone()
