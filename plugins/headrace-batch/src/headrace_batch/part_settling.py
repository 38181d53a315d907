"""Ends parts: releases what was reserved for them, and keeps the rows that are still to be sent."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from headrace_batch.merging import Merged, PartMerger
from headrace_batch.part import Part, Stage
from headrace_batch.part_admission import ROOM_WAIT
from headrace_batch.part_file import lines_of, part_path
from headrace_batch.refusal import Refusal
from headrace_batch.session import BatchSession
from headrace_batch.waiting_rows import RowChain

MOST_ROUNDS = 3
"""In how many batches a row is sent before its last failure is final."""


class LeftRows(NamedTuple):
    """Rows without a final result.

    Attributes:
        rows: The rows.
        part: The part in which they were last.
        round: In how many batches they were.
    """

    rows: RowChain
    part: Part
    round: int


class PartSettling:
    """Ends parts of a session.

    Args:
        session: The session.
        merger: Fails the rows that an endpoint refuses.
    """

    def __init__(self, session: BatchSession, merger: PartMerger) -> None:
        self._session = session
        self._merger = merger
        self._left: list[LeftRows] = []

    @property
    def has_left(self) -> bool:
        """Whether there are rows without a final result."""
        return bool(self._left)

    def take_left(self) -> list[LeftRows]:
        """Remove the rows without a final result, and return them."""
        left, self._left = self._left, []
        return left

    def settle(self, part: Part, merged: Merged, round: int) -> None:
        """Count what a part has cost, and keep its rows that are left for the batch after ``round``."""
        if part.has_reservation:
            self._session.money.settle(Decimal(part.reserved), merged.spent)
            part.has_reservation = False
        if merged.left:
            self._left.append(LeftRows(merged.left, part, round))
        self._session.signals.note_part_ended()

    async def leave(self, part: Part, refused: str | None = None) -> None:
        """Send the rows of a part in another way; ``refused`` is a batch that the endpoint refused for it."""
        self.settle(part, Merged(self._session.rows.take(part.number)), part.round)
        part.outstanding = 0
        await self._session.ledger.advance(part, Stage.SETTLED, refused=refused)

    async def handle_refusal(self, part: Part, refusal: Refusal) -> bool:
        """Do what helps if an endpoint refuses a part; False if nothing does."""
        session, batch = self._session, refusal.batch
        others = any(each.at_endpoint and each is not part for each in session.ledger.parts.values())
        if part.adopted:
            session.setup.notify(f"The endpoint refused batch {batch}: {refusal.text}; its rows are sent.")
            await self.leave(part, batch)
        elif refusal.has_no_room and others:
            if batch is not None:
                await session.ledger.advance(part, Stage.UPLOADED, refused=batch)
            await session.signals.wait_for_part_end(ROOM_WAIT)
        elif refusal.lines and (len(refusal.lines) == part.rows or part.round + 1 < MOST_ROUNDS):
            await self._fail_lines(part, refusal)
        elif refusal.limit is not None:
            size = part.size if refusal.limit == "bytes" else part.rows
            await session.ledger.learn(refusal.limit, size // 2)
            what = f"Part {part.number}" if batch is None else f"Batch {batch}"
            session.setup.notify(f"{what} is too large for the endpoint; smaller ones are made.")
            await self.leave(part, batch)
        else:
            return False
        return True

    async def _fail_lines(self, part: Part, refusal: Refusal) -> None:
        """Fail the rows that made the endpoint refuse a part; the others are sent again."""
        session = self._session
        lines = enumerate(lines_of(part_path(session.ledger.folder, part.number)), 1)
        refused = {id: refusal.lines[number] for number, (id, _) in lines if number in refusal.lines}
        endpoint = session.endpoints.at(part.endpoint)
        self.settle(part, self._merger.refuse(part, endpoint, refused), part.round + 1)
        await session.setup.sync()
        await session.ledger.advance(part, Stage.SETTLED, refused=refusal.batch)
