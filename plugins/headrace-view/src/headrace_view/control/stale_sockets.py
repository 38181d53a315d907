"""Removes the sockets that killed runs have left."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

_YOUNGEST = 60.0
"""Seconds since which a socket must exist: when a run begins, nothing listens on its socket for a moment."""


def remove_stale_sockets(folder: Path) -> None:
    """Remove the sockets of a folder on which no process listens any more."""
    for path in folder.glob("*.sock"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _YOUNGEST and _is_stale(path):
                path.unlink()


def _is_stale(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:  # a listener whose queue is full
            return False
    return False
