"""A file that is only appended to: what was written survives this process, and once synced the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from headrace.errors import JournalError


class LineFile:
    """The lines of an output, appended to. Raises `OSError` where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dirty = False
        self._broken: JournalError | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def fileno(self) -> int:
        """The descriptor, for who locks it."""
        return self._file

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def append(self, lines: bytes, count: Callable[[int], int]) -> None:
        """Write lines; they survive the death of this process once it returns.

        ``count`` is told how many of them are whole there, and says how many items are safe with them.
        Raises `JournalError` where not all can be written, and from then on again: what is appended to half a
        line is damage, even if there is room by then.
        """
        if self._broken is not None:
            raise self._broken
        written, error = write_all(self._file, lines)
        self._dirty = True
        safe = count(lines.count(b"\n", 0, written))
        if error is not None:
            with suppress(OSError):  # else the next run cuts it off
                torn = written - (lines.rfind(b"\n", 0, written) + 1)
                os.ftruncate(self._file, os.fstat(self._file).st_size - torn)
            self._broken = JournalError(
                f"{self.path}: {error.strerror}; {safe} items are safe there, "
                "run the same command again when there is room"
            )
            raise self._broken from error

    async def sync(self) -> None:
        """Force what was written onto the disk, where it survives the death of the machine."""
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
    """How much was written, and why not all: a disk that becomes full takes a part, then says so."""
    written = 0
    try:
        while written < len(data):
            written += os.write(file, memoryview(data)[written:])
    except OSError as error:
        return written, error
    return written, None
