"""The content of a file: in memory while it is short, otherwise in a temporary file without a name."""

import weakref
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

import attrs

_MOST_IN_MEMORY = 1024 * 1024
_CHUNK = 256 * 1024


class StoredContent:
    """Bytes that are appended, and read at any position.

    The temporary file has no name, so nothing is left behind, also if the process is killed.
    """

    def __init__(self) -> None:
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=_MOST_IN_MEMORY)  # noqa: SIM115
        self._size = 0
        # A file that is collected without being closed would be a ResourceWarning.
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._file.seek(self._size)
        self._file.write(data)
        self._size += len(data)

    def read(self, start: int, length: int) -> bytes:
        """At most so many bytes from this position."""
        self._file.seek(start)
        return self._file.read(length)

    def read_line(self, start: int) -> bytes:
        """The line that begins at this position, with its end; empty at the end of the content."""
        self._file.seek(start)
        return self._file.readline()


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
