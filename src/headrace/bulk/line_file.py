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

    Args:
        path: The file; it is created if it does not exist.
        name: The name of the file in messages; None for ``path``.

    Attributes:
        size: Its bytes.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, name: Path | None = None) -> None:
        self.path = path
        self._name = name or path
        self._dirty = False
        self._broken: JournalError | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.size: int = os.fstat(self._file).st_size

    def fileno(self) -> int:
        """The file descriptor, for locks."""
        return self._file

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def truncate(self, size: int) -> None:
        """Cut the file to a size in bytes, and sync it; raises `OSError`."""
        os.ftruncate(self._file, size)
        os.fsync(self._file)
        self.size = size

    def check_in_place(self) -> None:
        """Check that the path still leads to this file, and that no other program has changed its size.

        Raises:
            JournalError: The file was deleted, moved, replaced, cut or written to. Later calls of `append`
                raise it again.
        """
        if self._broken is not None:
            raise self._broken
        found = os.fstat(self._file)
        try:
            at_path = os.stat(self.path)
        except OSError:
            at_path = None
        if at_path is not None and os.path.samestat(found, at_path):
            if found.st_size == self.size:
                return
            what = "another program changed it during the run; put its content back, then"
        elif at_path is not None:
            what = "another file took its place during the run; check that file, then"
        elif found.st_nlink:
            what = "it was moved during the run; move it back, then"
        else:
            what = "it was deleted during the run, and its lines are lost; to begin anew,"
        self._broken = JournalError(f"{self._name}: {what} run the same command again")
        raise self._broken

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
        self.size += written
        safe = count(lines.count(b"\n", 0, written))
        if error is not None:
            with suppress(OSError):  # otherwise the next run removes the torn line
                torn = written - (lines.rfind(b"\n", 0, written) + 1)
                os.ftruncate(self._file, os.fstat(self._file).st_size - torn)
            self._broken = JournalError(
                f"{self._name}: {error.strerror}; {safe} items are safe there; "
                "free some space, then run the same command again"
            )
            raise self._broken from error

    def note_unsynced(self) -> None:
        """Note that the file has lines that another descriptor has written and not synced."""
        self._dirty = True

    async def sync(self) -> bool:
        """Sync the written lines to the disk, so that they survive a crash of the machine.

        Returns:
            Whether there were any.
        """
        if not self._dirty:
            return False
        self._dirty = False
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._fsync)
        return True

    def _fsync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise JournalError(
                f"{self._name}: {error.strerror}; the last lines may not be on the disk"
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
