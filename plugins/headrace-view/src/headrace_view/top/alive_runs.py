"""Finds the runs of this user that are alive on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from headrace import HeadraceError
from headrace_view.top.watch import StatusClient


def alive_runs(
    folders: Iterable[Path], connect: Callable[[Path], AbstractContextManager[StatusClient]]
) -> list[dict[str, Any]]:
    """The status of each run, in the order of their outputs. A run that does not answer is left out.

    Args:
        folders: The folders with the sockets of runs; one that others can enter is left out.
        connect: Connects to the socket of a run.
    """
    found = []
    for folder in filter(_is_private, folders):
        for path in folder.glob("*.sock"):
            try:
                with connect(path) as client:
                    found.append(client.status())
            except (OSError, HeadraceError):  # it has ended, was killed, or is busy
                continue
    return sorted(found, key=lambda status: str(status.get("out")))


def _is_private(folder: Path) -> bool:
    """Whether nobody else can have put a socket there."""
    try:
        entry = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(entry.st_mode) and entry.st_uid == os.geteuid() and not entry.st_mode & 0o077
