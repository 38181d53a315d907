"""The journal of a run without an output file: its lines are in memory."""

from __future__ import annotations

import io
from decimal import Decimal

from headrace.bulk.output_line import decode_entries
from headrace.bulk.sources import Item


class MemoryJournal:
    """Keeps the lines of a run in memory; nothing is on disk, so the run cannot be resumed.

    Attributes:
        content: The lines; another object after `remove_failed`.
        spent: Cost in USD of earlier sessions: none.
    """

    first_index = 0

    def __init__(self) -> None:
        self.content: io.BytesIO = io.BytesIO()
        self.spent: Decimal = Decimal(0)
        self._removed: set[str] = set()

    def is_done(self, item: Item) -> bool:
        """Whether an item is done from an earlier session: never."""
        return False

    def was_removed(self, item: Item) -> bool:
        """Whether the line of an item was removed."""
        return item.id in self._removed

    def remove_failed(self) -> set[str]:
        """Remove the lines of failed items, so that they are sent again; returns their ids."""
        lines = self.content.getvalue()
        entries = decode_entries(lines)
        failed = {entry.custom_id for entry in entries if entry.failed}
        if failed:
            self._removed |= failed
            self.content = io.BytesIO()
            for line, entry in zip(lines.split(b"\n"), entries, strict=False):
                if not entry.failed:
                    self.content.write(line + b"\n")
        return failed

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Keep the lines of these items."""
        self.content.write(lines)

    async def sync(self) -> None:
        """Do nothing."""


class MemoryReader:
    """Reads the lines that are appended to a `MemoryJournal`, like a file."""

    def __init__(self, content: io.BytesIO) -> None:
        self._content = content
        self._place = content.seek(0, io.SEEK_END)

    def readline(self) -> bytes:
        """The next line; empty if there is none yet."""
        self._content.seek(self._place)
        line = self._content.readline()
        self._place = self._content.tell()
        self._content.seek(0, io.SEEK_END)  # where the journal writes
        return line

    def seek(self, offset: int, whence: int) -> int:
        """Move the place by ``offset``."""
        self._place += offset
        return self._place

    def close(self) -> None:
        """Do nothing: the journal keeps the lines."""
