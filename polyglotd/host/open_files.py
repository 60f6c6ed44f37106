"""Every connection takes a descriptor: the daemon wants as many as it may have."""

import logging
import resource

logger = logging.getLogger(__name__)

ENOUGH = 16_384


def raise_open_files_limit() -> int:
    """Raise the soft limit to the hard one; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < ENOUGH:
        logger.warning("only %d files may be open at once, and each connection takes one: raise LimitNOFILE", hard)
    return hard
