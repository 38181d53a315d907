"""The limit of open files of this process."""

from __future__ import annotations

import logging
from contextlib import suppress

from headrace.transports.connecting.local_limits import SPARE_FILES

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_log = logging.getLogger("headrace.files")


def raise_file_limit(connections: int) -> None:
    """Raise the soft limit of open files for this many connections, as far as the system allows.

    If that is not far enough, it is logged as a warning.
    """
    if resource is None:
        return
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):  # some systems have a lower limit than the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft < needed:
        _log.warning(
            "%s calls at once are more than this process can have connections: it may open %s files. Over "
            "HTTP/1.1 the others wait; raise the limit with 'ulimit -n'",
            f"{connections:,}",
            f"{soft:,}",
        )
