"""Notices that the input is changed while it is read: its rows would be other rows than those checked."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Self

import attrs

from headrace.errors import InputError


@attrs.frozen
class FileState:
    """What identifies the content of a file without reading it.

    A change of the same size is noticed by its time, in the resolution of the file system (some ms).
    """

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The state in the result of `os.stat`."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def change_to(self, later: FileState) -> str:
        """What happened between two states that differ, for a message."""
        if (self.device, self.inode) != (later.device, later.inode):
            return "was replaced by another file"
        if later.size > self.size:
            return f"grew from {self.size:,} to {later.size:,} bytes"
        if later.size < self.size:
            return f"was cut from {self.size:,} to {later.size:,} bytes"
        return "was written to"


def changed_input(name: str, before: FileState, now: FileState) -> InputError:
    """The error for an input that changed."""
    return InputError(
        f"{name}: {before.change_to(now)} since it was first read; finished items are kept, "
        "run again to continue with the new content"
    )


class WatchedFile(io.RawIOBase):
    """A file whose state is compared after each read, so no changed content is ever returned.

    Args:
        descriptor: The open file, which is owned.
        check: Called with the state of the file after each read.
    """

    def __init__(self, descriptor: int, check: Callable[[FileState], None]) -> None:
        self._file = io.FileIO(descriptor)
        self._check = check

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = self._file.readinto(buffer)
        self._check(FileState.of(os.fstat(self._file.fileno())))
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
