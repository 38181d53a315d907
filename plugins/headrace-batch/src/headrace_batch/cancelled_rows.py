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

    The ledger knows them, so that they stay cancelled in later sessions.

    Args:
        rows: The rows that wait, by part.
        ledger: The ledger of the run.
    """

    def __init__(self, rows: WaitingRows, ledger: Ledger) -> None:
        self._rows = rows
        self._ledger = ledger
        self._ids: set[str] = set().union(*(part.cancelled for part in ledger.parts.values() if part.is_open))
        self._unplanned: set[int] = set()

    async def add(self, ids: Set[str]) -> tuple[set[str], set[str]]:
        """Cancel those of the rows with these ids that are in parts.

        Returns:
            The ids of rows that are in no batch, and those of rows whose batch goes on.
        """
        unsent, sent = set[str](), set[str]()
        found = self._rows.find(ids)
        for number, there in found.items():
            part = self._ledger.parts.get(number)
            if part is not None and part.at_endpoint:
                sent |= there
            else:
                unsent |= there
        self._ids |= unsent | sent
        for number, there in found.items():
            if (part := self._ledger.parts.get(number)) is None:
                self._unplanned.add(number)
            else:
                await self._ledger.cancel(part, part.cancelled | there)
        return unsent, sent

    def take(self, id: str) -> bool:
        """Whether the row with this id was cancelled; it must fail now, and may be sent again later."""
        if id not in self._ids:
            return False
        self._ids.remove(id)
        return True

    async def note_failed(self, part: Part) -> None:
        """Note which of the cancelled rows of a part have failed: these may be sent again."""
        if failed := part.cancelled - self._ids:
            await self._ledger.cancel(part, part.cancelled - failed)

    def are_in(self, part: Part) -> bool:
        """Whether a part has cancelled rows; before it is in a batch, the others need another part."""
        return part.number in self._unplanned or not part.cancelled.isdisjoint(self._ids)
