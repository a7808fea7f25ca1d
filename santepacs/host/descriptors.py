"""How many file descriptors this process may have."""

import resource
from contextlib import suppress

ENOUGH = 65_536  # all connections at their settings' limits, and the files behind them


def raise_descriptor_limit() -> None:
    """Use what the system allows: the usual 1,024 are fewer than the connections we take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
