"""A run of the daemon as a process: logs, limits of the process, trio, and what its end means as an exit code.

Called by `cli.serve`. What runs is `daemon`'s.
"""

import logging
import os

import trio

from polyglotd.config import Settings
from polyglotd.daemon import Daemon, PlaneChoice, Role
from polyglotd.gateway.http.release import release
from polyglotd.host.garbage import collect_rarely
from polyglotd.host.open_files import raise_open_files_limit
from polyglotd.host.priority import give_way
from polyglotd.operator_faults import words_for_operator
from polyglotd.telemetry.logs import open_logs

logger = logging.getLogger(__name__)

DRAINED = 0
FAILED = 1
UMASK = 0o027  # what is in the data directory is nobody else's


def serve(settings: Settings, role: Role, *, development: bool, plane: PlaneChoice | None = None) -> int:
    """Serve until a signal; the exit code."""
    os.umask(UMASK)
    with open_logs(settings.telemetry.log_format, settings.telemetry.log_level) as out:
        logger.info("polyglotd %s starts: role %s, data in %s", release(), role, settings.data.dir)
        raise_open_files_limit()
        collect_rarely()
        if role == "processor":
            give_way(settings.processor.nice)
        daemon = Daemon(settings=settings, role=role, development=development, plane=plane, out=out)
        try:
            trio.run(daemon.run)
        except Exception as error:
            words = words_for_operator(error)
            if words is None:
                logger.critical("a fault of ours ended the daemon", exc_info=error)
            else:
                for line in words:
                    out.write(f"polyglotd: {line}")
            return FAILED
    return DRAINED
