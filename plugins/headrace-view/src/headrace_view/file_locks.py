"""Which files are locked on this machine, as the kernel lists them: to try a lock would be in a run's way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

_LIST = "/proc/locks"
_COLUMNS = 8


class FileLocks:
    """The locks by ``flock`` at the last `look`. Only Linux lists them."""

    def __init__(self) -> None:
        self._locked: frozenset[str] = frozenset()
        self._listed: set[int] = set()

    def look(self, own: Iterable[int]) -> None:
        """Read which files are locked.

        Args:
            own: Descriptors of files that this process has locked. If they are listed, so are all files of
                this machine on the same file system.
        """
        try:
            with open(_LIST, encoding="ascii", errors="replace") as file:
                columns = [line.split() for line in file]
        except OSError:
            return
        self._locked = frozenset(each[5] for each in columns if len(each) == _COLUMNS and each[1] == "FLOCK")
        for descriptor in own:
            with suppress(OSError):  # closed meanwhile
                entry = os.fstat(descriptor)
                if _name(entry) in self._locked:
                    self._listed.add(entry.st_dev)

    def holds(self, entry: os.stat_result) -> bool | None:
        """Whether a process of this machine holds the lock of a file; None if that is not known."""
        if _name(entry) in self._locked:
            return True
        return False if entry.st_dev in self._listed else None


def _name(entry: os.stat_result) -> str:
    """A file in the list: its device, in hexadecimal digits, and its inode."""
    return f"{os.major(entry.st_dev):02x}:{os.minor(entry.st_dev):02x}:{entry.st_ino}"
