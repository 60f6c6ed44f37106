"""Which faults an operator is told in plain words, and which are our own and go to the log with their traceback.

Called where a command ends: `serving` and `cli`.
"""

from polyglotd.gateway.http.admin_socket import AdminSocketError
from polyglotd.host.cannot_start import CannotStart, leaves
from polyglotd.log.interface import LogFault
from polyglotd.model import Unavailable
from polyglotd.plane.native.driver import DriverDied
from polyglotd.store.interface import StoreFault

TOLD = (CannotStart, LogFault, StoreFault, AdminSocketError, DriverDied, Unavailable, OSError)
"""A driver that died has no traceback of Python's to show. An OSError is a full disk, a directory that went away, a
file that may not be read: its own words name the file."""


def words_for_operator(error: BaseException) -> list[str] | None:
    """A line for each fault, where all are such as an operator can do something about; else None."""
    found = leaves(error)
    if not all(isinstance(leaf, TOLD) for leaf in found):
        return None
    return list(dict.fromkeys(str(leaf) for leaf in found))
