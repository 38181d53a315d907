"""The beginning of a text input, compared by its content with what it was in an earlier session."""

from __future__ import annotations

import zlib

import msgspec

from headrace.bulk.sources.files import InputFile

SHORTEST = 1 << 20
"""Bytes of a beginning that is worth a comparison. The kind and the delimiter of an input are found in it."""

_SHORTEST_READ, _LONGEST_READ = 1 << 12, 1 << 20

_BYTES_PER_LINE = 64
"""What is read for each line. A run reads on every second, so it should not read much more than it needs."""


class TextPrefix(msgspec.Struct, array_like=True, frozen=True):
    """The lines of a text before an item.

    Attributes:
        index: The position of the item, from 0.
        line: Its first line, from 1.
        size: Bytes before it.
        checksum: The CRC-32 of these bytes.
    """

    index: int
    line: int
    size: int
    checksum: int


class PrefixReader:
    """Reads the beginning of a text, from line to line.

    Args:
        file: The text; plain UTF-8, see `InputFile.is_plain`.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._line, self._size, self._checksum = 1, 0, 0

    def prefix(self, index: int, line: int) -> TextPrefix | None:
        """The text before the item at a line, which is not before that of an earlier call.

        Returns:
            The prefix; None if there is no such line, or if other characters than line feeds end lines.

        Raises:
            InputError: The input was changed.
        """
        with self._file.open_text(self._size) as text:
            while self._line < line:
                size = (line - self._line) * _BYTES_PER_LINE
                chunk = text.read(max(_SHORTEST_READ, min(size, _LONGEST_READ)))
                if chunk.endswith(b"\r"):
                    chunk += text.read(1)
                if not chunk or (b"\r" in chunk and chunk.count(b"\r") != chunk.count(b"\r\n")):
                    return None
                chunk = chunk[: _end_of_lines(chunk, line - self._line)]
                self._line += chunk.count(b"\n")
                self._size += len(chunk)
                self._checksum = zlib.crc32(chunk, self._checksum)
        return TextPrefix(index, line, self._size, self._checksum)


def _end_of_lines(text: bytes, number: int) -> int:
    """Where this many lines end; the length of the text if it has fewer."""
    if text.count(b"\n") < number:
        return len(text)
    end = 0
    for _ in range(number):
        end = text.index(b"\n", end) + 1
    return end
