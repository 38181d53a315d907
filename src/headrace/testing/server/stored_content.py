"""The content of a file: in memory while it is short, otherwise in a temporary file without a name."""

import os
from collections.abc import Iterator

import attrs

from headrace._support.temporary_descriptor import temporary_descriptor

_MOST_IN_MEMORY = 1024 * 1024
_CHUNK = 256 * 1024
_LINE = 4096
"""Bytes that are read for a line; a longer one is read in more steps."""


class StoredContent:
    """Bytes that are appended, and read at any position.

    The temporary file has no name, so nothing is left behind, also if the process is killed.
    """

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: int | None = None
        self._size = 0

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._memory += data
        self._size += len(data)
        if self._file is None and self._size > _MOST_IN_MEMORY:
            self._file = temporary_descriptor()
        if self._file is not None:
            while self._memory:
                del self._memory[: os.write(self._file, self._memory)]

    def read(self, start: int, length: int) -> bytes:
        """At most so many bytes from this position."""
        if self._file is None:
            return bytes(self._memory[start : start + length])
        return os.pread(self._file, length, start)

    def read_line(self, start: int) -> bytes:
        """The line that begins at this position, with its end; empty at the end of the content."""
        line = b""
        while not line.endswith(b"\n") and (piece := self.read(start + len(line), _LINE + len(line))):
            line += piece[: piece.find(b"\n") + 1] or piece
        return line


@attrs.frozen
class ContentRange:
    """A part of a stored content.

    Args:
        content: The content.
        start: Position of the first byte.
        stop: Position after the last byte.
    """

    content: StoredContent
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def first_half(self) -> "ContentRange":
        """The first half of this part."""
        return attrs.evolve(self, stop=self.start + len(self) // 2)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in chunks that are read when they are asked for."""
        for position in range(self.start, self.stop, _CHUNK):
            yield self.content.read(position, min(_CHUNK, self.stop - position))
