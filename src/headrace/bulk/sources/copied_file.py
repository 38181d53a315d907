"""A temporary copy of what can be read only once, read by several passes at the same time."""

from __future__ import annotations

import io
import os


class CopiedFile(io.RawIOBase):
    """One pass over a copy, with a position of its own.

    Args:
        descriptor: The copy, which stays open when the pass is closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = os.dup(descriptor)  # shares its position with all others, so only `pread` reads it
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._file).st_size}
        self._position = begin[whence] + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = os.pread(self._file, len(buffer), self._position)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()
