"""A file for appended lines: they survive a crash of the process, and after a sync of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from headrace.errors import JournalError


class LineFile:
    """An output file that is open for appending lines.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dirty = False
        self._broken: JournalError | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def fileno(self) -> int:
        """The file descriptor, for locks."""
        return self._file

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def append(self, lines: bytes, count: Callable[[int], int]) -> None:
        """Write lines; afterwards they survive a crash of this process.

        Args:
            lines: Complete lines.
            count: Called with the number of completely written lines; returns how many items the file then
                holds.

        Raises:
            JournalError: Not all lines could be written. Later calls raise it again, even if there is space
                again, because text after a torn line would be damage.
        """
        if self._broken is not None:
            raise self._broken
        written, error = write_all(self._file, lines)
        self._dirty = True
        safe = count(lines.count(b"\n", 0, written))
        if error is not None:
            with suppress(OSError):  # otherwise the next run removes the torn line
                torn = written - (lines.rfind(b"\n", 0, written) + 1)
                os.ftruncate(self._file, os.fstat(self._file).st_size - torn)
            self._broken = JournalError(
                f"{self.path}: {error.strerror}; {safe} items are safe there; "
                "free some space, then run the same command again"
            )
            raise self._broken from error

    async def sync(self) -> None:
        """Sync the written lines to the disk, so that they survive a crash of the machine."""
        if self._dirty:
            self._dirty = False
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._fsync)

    def _fsync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}; the last lines may not be on the disk"
            ) from error


def write_all(file: int, data: bytes) -> tuple[int, OSError | None]:
    """Write data; returns the number of written bytes, and the error if these are not all.

    A disk that becomes full accepts a part of the data and then fails.
    """
    written = 0
    try:
        while written < len(data):
            written += os.write(file, memoryview(data)[written:])
    except OSError as error:
        return written, error
    return written, None
