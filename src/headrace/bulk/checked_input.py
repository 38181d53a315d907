"""The check of the input of a run, made beside the sending, and what the totals say of it."""

from __future__ import annotations

import math

import anyio
from anyio.lowlevel import checkpoint

from headrace.bulk.chosen_items import ChosenItems
from headrace.bulk.drawing_gate import DrawingGate
from headrace.bulk.input_check import InputCheck
from headrace.bulk.sources import Source, TaskInput
from headrace.bulk.summary import Summary
from headrace.errors import InputError

_CHECK_INTERVAL, _CHECK_TIME = 0.01, 0.002
"""Seconds between two parts of the check, and seconds of one part. Calls wait for a part to end."""

_CATCH_UP_TIME = 0.05
"""Seconds of the check between two passes: rows that need no call are drawn as fast as they are checked."""


class CheckedInput:
    """The input of a run while it is checked. An error of it stops the run.

    Args:
        source: The input.
        check: Checks it; None if the number of its items is known.
        summary: The totals, whose counts of the input are kept up to date.
        gate: Stops the drawing of items.
    """

    def __init__(
        self,
        source: TaskInput,
        check: InputCheck | None,
        summary: Summary,
        gate: DrawingGate,
    ) -> None:
        self._source = source
        self._check = check
        self._summary = summary
        self._gate = gate

    async def check_rest(self) -> None:
        """Check the rest of the input beside the sending."""
        while self._check is not None and self._check.reads_ahead and not self._check.finished:
            await anyio.sleep(_CHECK_INTERVAL)
            await self._check.fetch()
            self._advance(_CHECK_TIME, only_fetched=True)

    def catch_up(self) -> None:
        """Check a part of the input between two passes."""
        self._advance(_CATCH_UP_TIME)

    def finish(self) -> None:
        """Check what is left when all items were drawn: drawing skips done ones faster than the check."""
        self._advance(math.inf)

    async def finish_early(self) -> bool:
        """Check all of the input, while the run waits; returns whether it is valid and the run goes on."""
        while self._check is not None and not self._check.finished and not self._gate.stopping.is_set():
            await self._check.fetch()
            self._advance(_CATCH_UP_TIME, only_fetched=True)
            await checkpoint()
        return not self._gate.stopping.is_set()

    def _advance(self, seconds: float, *, only_fetched: bool = False) -> None:
        if self._check is None:
            return
        try:
            self._check.advance(seconds, only_fetched=only_fetched)
        except InputError as error:
            self._summary.stopped_by = self._summary.stopped_by or error
            self._gate.stop()
        self.count()

    def count(self) -> None:
        """Bring what the check has counted into the totals."""
        check, summary = self._check, self._summary
        if check is not None:
            summary.total, summary.counted = check.total, check.finished
            summary.done_before, summary.failed_before = check.done, check.failed

    def check_unchanged(self) -> None:
        """Notice a change of the input that came after its last row was read."""
        if isinstance(self._source, Source | ChosenItems):
            try:
                self._source.check_unchanged()
            except InputError as error:
                self._summary.stopped_by = error
