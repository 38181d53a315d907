"""Whether a part may be sent now: the endpoint has room for its tokens, and the budget for its cost."""

from __future__ import annotations

from decimal import Decimal

from headrace_batch.part import Part
from headrace_batch.session import BatchSession

ROOM_WAIT = 60.0
"""Seconds after which a batch is created again that was refused because others are enqueued."""


class PartAdmission:
    """Admits parts of a session."""

    def __init__(self, session: BatchSession) -> None:
        self._session = session

    def admit_nowait(self, part: Part) -> bool:
        """Find room and reserve the cost; False if that must wait for another part.

        Raises:
            BudgetExceeded: It never fits into the budget.
        """
        return self._find_room(part) and self._try_reserve(part)

    async def admit(self, part: Part) -> bool:
        """Wait until a part is admitted; False if the session leaves or finishes before."""
        signals = self._session.signals
        while not self.admit_nowait(part):
            await signals.wait_for_part_end(ROOM_WAIT)
            if signals.is_ending:
                return False
        return True

    def _find_room(self, part: Part) -> bool:
        """Whether the tokens of a part fit beside those of the batches of its model that have not ended."""
        most = self._session.options.max_tokens
        if most is None or part.has_room:
            return True
        same = (part.endpoint, part.model)
        tokens = sum(
            each.tokens
            for each in self._session.ledger.parts.values()
            if each.takes_room and (each.endpoint, each.model) == same
        )
        part.has_room = not tokens or tokens + part.tokens <= most
        return part.has_room

    def _try_reserve(self, part: Part) -> bool:
        reserve = self._session.money.reserve
        part.has_reservation = part.has_reservation or reserve(Decimal(part.reserved))
        return part.has_reservation
