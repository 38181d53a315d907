"""Batches and results that the endpoint does not have: named at first, and sent again if that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from headrace.plugins import format_count
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.part import Part
from headrace_batch.part_steps import BatchMissing, StepFailed, attempt

What: TypeAlias = Literal["batch", "results"]
"""What the endpoint does not have."""

_MOST_NAMED = 5
_FEW = 3
"""Attempts of a request that only tells whether a batch is lost."""


class LostBatches:
    """The parts of a session whose batch or results are not at the endpoint.

    That may be the answer to another key, or a fault that passes, and then the batch is paid. So a part stays
    as it is at first, and the run names it when everything else is done. A later session that does not find
    it either sends its rows again. It must be sure that its key is the right one: it sees the file of the
    part, but the batch neither by its id nor in the list.

    Args:
        ledger: Where it is noted that a part was not found.
        endpoints: The endpoints of the parts.
        notify: Shows a line of text to the user.
    """

    def __init__(self, ledger: Ledger, endpoints: PartEndpoints, notify: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._endpoints = endpoints
        self._notify = notify
        self._lost: list[Part] = []
        self._unknown: list[Part] = []

    async def note(self, part: Part, what: What) -> bool:
        """Note that the endpoint does not have the batch of a part, or its results.

        Returns:
            Whether its rows must be sent again now.
        """
        is_lost = what == "results" or await self._is_lost(part)
        if is_lost and part.lost:
            of_batch = f"batch {part.batch}" if what == "batch" else f"the results of batch {part.batch}"
            self._notify(
                f"Part {part.number}: {part.endpoint} does still not have {of_batch}; its rows without a "
                "result are sent again."
            )
            return True
        await self._ledger.note_lost(part, is_lost)
        (self._lost if is_lost else self._unknown).append(part)
        return False

    async def _is_lost(self, part: Part) -> bool:
        """Whether an endpoint has no batch of a part, for the key with which it was made."""
        api, file, what = self._endpoints.at(part.endpoint).api, part.file or "", f"part {part.number}"
        try:
            if not await attempt(lambda: api.has_file(file), f"{what}: look at its file", _FEW):
                return False
            listed = await attempt(api.batches, f"{what}: find its batch", _FEW)
        except StepFailed:
            return False
        return part.batch not in {batch.id for batch in listed}

    def check(self) -> None:
        """Name the parts that were noted, and say what to do.

        Raises:
            BatchMissing: There are some.
        """
        if self._unknown:
            raise BatchMissing(
                f"{_named(self._unknown)} for this key; use the key with which they were made. If they are "
                f"lost, remove {self._ledger.folder} and run the same command again: it finds what the "
                "endpoint has, and sends the other rows"
            )
        if self._lost:
            raise BatchMissing(
                f"{_named(self._lost)}, or their results, though it has their files; if they are still "
                "missing when the same command is run again, it sends their rows in new batches"
            )


def _named(parts: list[Part]) -> str:
    parts = sorted(parts, key=lambda part: part.number)
    rows = sum(part.outstanding for part in parts)
    names = ", ".join(f"{part.batch} (part {part.number})" for part in parts[:_MOST_NAMED])
    more = f" and {len(parts) - _MOST_NAMED:,} more" if len(parts) > _MOST_NAMED else ""
    return f"{parts[0].endpoint} does not have {names}{more} with {format_count(rows, 'row')}"
