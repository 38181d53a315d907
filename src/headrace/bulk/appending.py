"""A file that is only appended to: what was written survives this process, and once synced the machine."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.to_thread

from headrace.errors import JournalError


class LineFile:
    """The lines of an output, appended to. Raises `OSError` where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dirty = False
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def fileno(self) -> int:
        """The descriptor, for who locks it."""
        return self._file

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def append(self, lines: bytes, safe: int) -> None:
        """Write lines; they survive the death of this process once it returns.

        Raises `JournalError` where that fails, whose message has the number of items that are ``safe``.
        """
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}; {safe} items are safe there, "
                "run the same command again when there is room"
            ) from error
        self._dirty = True

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
