"""Writes an output anew without some of its lines, a portion at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from headrace.bulk.done_index import DoneIndex
from headrace.bulk.output_line import JournalEntry, decode_entry

_PORTION = 1 << 18
"""Bytes that are copied together, in about two milliseconds."""


class LineRemoval:
    """A copy of an output without some of its lines. Further lines may be added to the output meanwhile.

    Args:
        output: The output. The copy is beside it.
        index: The file of its index, which describes the copy afterwards.
        chosen: Whether a line is left out; called for each line in their order, with the position of its end.

    Attributes:
        copy: The path of the copy.
        index: The index of the copy.
        removed: The ids of the lines that were left out.
        cost: What they cost, in USD.

    Raises:
        OSError: A file cannot be opened.
    """

    def __init__(self, output: Path, index: Path, chosen: Callable[[JournalEntry, int], bool]) -> None:
        self.copy: Path = output.with_name(output.name + ".new")
        self.index: DoneIndex = DoneIndex(index)
        self.removed: list[str] = []
        self.cost: Decimal = Decimal(0)
        self._chosen = chosen
        self._old = output.open("rb")
        self._read = 0
        try:
            self._new = self.copy.open("wb")
        except OSError:
            self._old.close()
            raise
        os.chmod(self.copy, 0o600)

    def copy_some(self) -> bool:
        """Copy the next lines; returns whether there were any. Raises `OSError`."""
        lines = self._old.readlines(_PORTION)
        for raw in lines:
            entry = decode_entry(raw)
            self._read += len(raw)
            if self._chosen(entry, self._read):
                self.removed.append(entry.custom_id)
                self.cost += entry.spent
            else:
                self._new.write(raw)
                self.index.add(raw, [entry])
        return bool(lines)

    def sync(self) -> None:
        """Bring what was copied to the disk; may be called in a thread. Raises `OSError`."""
        self._new.flush()
        os.fsync(self._new.fileno())

    def finish(self) -> None:
        """Copy what was added meanwhile, and write the index. Raises `OSError`."""
        while self.copy_some():
            pass
        self._new.flush()
        self.index.write()

    def close(self) -> None:
        """Close the files, and delete the copy unless it has taken the place of the output."""
        self._old.close()
        with suppress(OSError):  # a full disk; nobody needs the rest
            self._new.close()
        self.copy.unlink(missing_ok=True)
