"""A file for what must be remembered of each row, because a million rows should take little memory."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_BUFFER = 1 << 16


class RowFile:
    """Bytes that are appended, and read at any position.

    The file has no name, so nothing is left behind if the process is killed: the next session draws its rows
    again.

    Args:
        folder: On whose disk it is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # noqa: SIM115 - see `close`
        self._end = self._written = 0

    def append(self, data: bytes) -> int:
        """Add bytes at the end, and return their position."""
        place = self._end
        self._end += self._file.write(data)
        return place

    def read(self, place: int, size: int) -> bytes:
        """At most so many bytes from a position."""
        if self._written < self._end:  # a flush takes a system call, even if there is nothing to write
            self._file.flush()
            self._written = self._end
        return os.pread(self._file.fileno(), size, place)

    def close(self) -> None:
        """Close and delete it."""
        with suppress(OSError):  # a full disk; nobody needs the rest
            self._file.close()
