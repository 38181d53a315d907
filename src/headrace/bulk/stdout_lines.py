"""The lines of a run on stdout."""

from __future__ import annotations

import sys
from decimal import Decimal

from headrace.bulk.line_file import write_all
from headrace.bulk.sources import Item
from headrace.errors import JournalError


class StdoutLines:
    """Writes the lines of a run to stdout, in place of a `Journal`.

    Nothing can be read again, so no item is done before the run, and the run cannot be continued.

    Attributes:
        first_index: The index of the first item: 0.
        spent: Cost in USD of earlier sessions: 0.
    """

    def __init__(self) -> None:
        self.first_index: int = 0
        self.spent: Decimal = Decimal(0)
        self._written = 0

    def is_done(self, item: Item) -> bool:
        """Whether an item was done before: no."""
        return False

    def was_removed(self, item: Item) -> bool:
        """Whether the line of an item was removed: no."""
        return False

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Write lines.

        Raises:
            BrokenPipeError: The program that reads them has ended.
            JournalError: Not all lines could be written.
        """
        try:
            written, error = write_all(sys.stdout.fileno(), lines)
        except OSError as missing:  # a replaced stdout may have no descriptor
            written, error = 0, missing
        self._written += lines.count(b"\n", 0, written)
        if isinstance(error, BrokenPipeError):
            raise error
        if error is not None:
            raise JournalError(
                f"stdout: {error.strerror or error}; {self._written} items are written there"
            ) from error

    async def sync(self) -> None:
        """Do nothing: stdout cannot be synced."""
