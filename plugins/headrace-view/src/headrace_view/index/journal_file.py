"""Reads the complete lines of a journal from a place on, and notices that it is another file now."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from headrace.bulk import open_regular

_CHUNK, _FIRST_CHUNK = 1 << 22, 1 << 18
"""Bytes of a read; the first one is short, so that the page soon has rows to show."""

_COMPARED = 4096
"""Bytes at the beginning, and before the place, that must be the same for the lines before it to count."""


class ReadPosition(msgspec.Struct, frozen=True):
    """How far a journal was read.

    Attributes:
        offset: The end of the last line, in bytes.
        head: A hash of the first bytes before the offset.
        tail: A hash of the last bytes before the offset.
    """

    offset: int = 0
    head: str = ""
    tail: str = ""


class JournalFile:
    """A journal that may grow, be cut or be replaced while it is read; it is opened anew for each read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size: int = 0

    def read(self, position: ReadPosition) -> tuple[ReadPosition, int, list[bytes]] | None:
        """Read lines after a position.

        Returns:
            The position after them, the offset of the first, and the lines without their line feeds; no lines
            if there is no complete one. None if the file is another one than before the position, or was cut.

        Raises:
            OSError: The file cannot be read.
        """
        with open_regular(self.path) as file:
            self.size = os.fstat(file.fileno()).st_size
            if self.size < position.offset or _ends(file, position.offset) != (position.head, position.tail):
                return None
            file.seek(position.offset)
            content = file.read(_CHUNK if position.offset else _FIRST_CHUNK)
            while content and b"\n" not in content:
                more = file.read(max(_CHUNK, len(content)))
                if not more:
                    break
                content += more
            end = content.rfind(b"\n") + 1
            if not end:
                return position, position.offset, []
            offset = position.offset + end
            return (
                ReadPosition(offset, *_ends(file, offset)),
                position.offset,
                content[: end - 1].split(b"\n"),
            )


def _ends(file: BinaryIO, offset: int) -> tuple[str, str]:
    """Hashes of the first and the last bytes before an offset."""
    if not offset:
        return "", ""
    descriptor, length = file.fileno(), min(offset, _COMPARED)
    return tuple(  # type: ignore[return-value]
        hashlib.blake2b(os.pread(descriptor, length, begin), digest_size=8).hexdigest()
        for begin in (0, offset - length)
    )
