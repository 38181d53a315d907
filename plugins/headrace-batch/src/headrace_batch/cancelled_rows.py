"""The rows of parts that were cancelled: a batch cannot cancel a single one."""

from __future__ import annotations

from collections.abc import Set

from headrace import CallCancelled
from headrace_batch.ledger import Ledger
from headrace_batch.part import Part
from headrace_batch.waiting_rows import WaitingRows


def not_sent() -> CallCancelled:
    """The error of a row that was cancelled before its batch was created."""
    return CallCancelled("cancelled before it was sent")


class CancelledRows:
    """The cancelled rows until they fail, and the parts in which they are.

    Args:
        rows: The rows that wait, by part.
        ledger: The ledger of the run.
    """

    def __init__(self, rows: WaitingRows, ledger: Ledger) -> None:
        self._rows = rows
        self._ledger = ledger
        self._ids: set[str] = set()
        self._parts: set[int] = set()

    def add(self, ids: Set[str]) -> tuple[set[str], set[str]]:
        """Cancel those of the rows with these ids that are in parts.

        Returns:
            The ids of rows that are in no batch, and those of rows whose batch goes on.
        """
        unsent, sent = set[str](), set[str]()
        for number, found in self._rows.find(ids).items():
            part = self._ledger.parts.get(number)
            if part is not None and part.at_endpoint:
                sent |= found
            else:
                unsent |= found
                self._parts.add(number)
        self._ids |= unsent | sent
        return unsent, sent

    def take(self, id: str) -> bool:
        """Whether the row with this id was cancelled; it must fail now, and may be sent again later."""
        if id not in self._ids:
            return False
        self._ids.remove(id)
        return True

    def are_in(self, part: Part) -> bool:
        """Whether rows of a part were cancelled before it was in a batch; the others need another part."""
        return part.number in self._parts
