"""Brings parts through their batches, from the file of each to its merged results."""

from __future__ import annotations

import random
from decimal import Decimal

import anyio
import attrs

from headrace_batch.dialect import BatchState
from headrace_batch.merging import PartMerger, ResultsMissing
from headrace_batch.part import Part, Stage, Step
from headrace_batch.part_admission import PartAdmission
from headrace_batch.part_settling import MOST_ROUNDS, PartSettling
from headrace_batch.part_steps import BatchMissing, PartSteps, StepFailed, attempt, batch_of
from headrace_batch.refusal import refusal_of_batch, refusal_of_step
from headrace_batch.session import BatchSession

_UPLOADS = 2
"""Uploads at the same time."""

_FIRST_POLL, _POLL_GROWTH = 1.0, 1.5


class PartDriver:
    """Takes all steps of parts.

    Args:
        session: The session.
        merger: Merges the results of batches.
        settling: Ends parts.
    """

    def __init__(self, session: BatchSession, merger: PartMerger, settling: PartSettling) -> None:
        self._session = session
        self._setup = session.setup
        self._ledger = session.ledger
        self._signals = session.signals
        self._merger = merger
        self._settling = settling
        self._admission = PartAdmission(session)
        self._steps = PartSteps(session.setup.run_id, session.ledger, session.signals)
        self._uploads = anyio.CapacityLimiter(_UPLOADS)

    def _must_be_left(self, part: Part) -> bool:
        """Whether the rows of a part must be sent in another way, and no batch has them yet.

        Rows of an earlier session may be done in another way, or not wanted now: they must not be paid.
        """
        unwanted = part.drawn < part.rows or self._session.cancelled.are_in(part)
        return (self._signals.finishing.is_set() or unwanted) and not part.at_endpoint

    async def drive_new(self, part: Part, unsent: anyio.Semaphore) -> None:
        """Bring a part to its end; ``unsent`` is released when it is at the endpoint."""
        if not self._admission.admit_nowait(part):
            # Drawing goes on, because parts of an earlier session may take the room or the budget.
            unsent.release()
            await self._drive(part)
            return
        try:
            while not (part.at_endpoint or self._signals.stopping.is_set() or self._must_be_left(part)):
                if part.stage is Stage.SETTLED:  # it was too large
                    break
                await self._take_step(part)
        finally:
            unsent.release()
        await self._drive(part)

    async def drive_resumed(self, part: Part) -> None:
        """Bring a part of an earlier session to its end, unless this session has none of its rows."""
        if not self._session.open_rows.undone[part.number]:
            if part.batch is not None and part.stage is Stage.CREATED and not part.adopted:
                async with self._signals.until(self._signals.stopping):
                    await self._cancel(part, part.batch)
                if self._signals.stopping.is_set():
                    return
            if part.stage is not Stage.CREATING:
                await self._ledger.advance(part, Stage.SETTLED)
                return
        elif not part.outstanding:
            return  # this session works on other rows
        if part.stage is Stage.KEPT:
            self._setup.note_calls(True)
            await self._ledger.advance(part, Stage.ENDED)
        if part.at_endpoint:
            self._session.money.reserve_always(Decimal(part.reserved))
            part.has_reservation = True
        await self._drive(part)

    async def _drive(self, part: Part) -> None:
        while not self._signals.stopping.is_set() and part.stage is not Stage.SETTLED:
            if self._must_be_left(part):
                await self._settling.leave(part)
            elif part.next_step not in {Step.POLL, Step.MERGE}:
                await self._take_step(part)
            elif not await self._wait_or_merge(part):
                return

    async def _wait_or_merge(self, part: Part) -> bool:
        """Wait for a batch, or merge its results; False if no other step follows."""
        try:
            async with self._signals.until(self._signals.stopping):
                if part.next_step is Step.POLL:
                    return await self._poll(part)
                await self._merge(part)
        except BatchMissing:
            if await self._session.lost.note(part, "batch"):
                await self._settling.leave(part)
        except ResultsMissing:
            pass  # it is noted, and the run goes on with other parts
        return False

    async def _take_step(self, part: Part) -> None:
        if part.next_step in {Step.UPLOAD, Step.CREATE}:
            if not await self._admission.admit(part):
                return
            await self._signals.wait_while_paused()
        try:
            async with self._uploads:
                if self._signals.stopping.is_set() or self._must_be_left(part):
                    return
                if part.next_step is Step.CREATE:
                    self._setup.note_calls(True)
                api = self._session.endpoints.at(part.endpoint).api
                async with self._signals.until(*self._interrupts(part.next_step)):
                    await self._steps.take(part, api)
        except StepFailed as error:
            if not await self._settling.handle_refusal(part, refusal_of_step(error, part.rows)):
                raise

    def _interrupts(self, step: Step) -> tuple[anyio.Event, ...]:
        """What interrupts a step: one that sends nothing, or an upload, which may take long."""
        stopping, finishing = self._signals.stopping, self._signals.finishing
        return {
            Step.UPLOAD: (finishing,),
            Step.FIND_FILE: (stopping, finishing),
            Step.CREATE: (),
            Step.FIND_BATCH: (stopping,),
        }[step]

    async def _poll(self, part: Part) -> bool:
        """Wait until a batch has ended; False if the session leaves before."""
        signals, options = self._signals, self._session.options
        endpoint, pause = self._session.endpoints.at(part.endpoint), min(_FIRST_POLL, options.poll)
        cancelled = False
        while True:
            batch = await batch_of(part, endpoint.api)
            part.done = batch.finished or 0
            await self._ledger.note_lost(part, False)
            if batch.state is BatchState.ENDED:
                await self._ledger.advance(part, Stage.ENDED)
                return True
            if batch.state is BatchState.REFUSED:
                refusal = refusal_of_batch(batch, part.rows)
                if not await self._settling.handle_refusal(part, refusal):
                    # The next session sends its rows in a new part.
                    await self._ledger.advance(part, Stage.SETTLED, refused=batch.id)
                    raise StepFailed(
                        f"the endpoint refused batch {batch.id} (part {part.number}): {refusal.text}"
                    )
                return True
            if options.detach:
                return False
            if signals.finishing.is_set() and not cancelled:
                cancelled = True
                await self._cancel(part, batch.id)
            events = (signals.stopping,) if cancelled else (signals.stopping, signals.finishing)
            await signals.wait(pause * random.uniform(0.8, 1.2), *events)
            if signals.stopping.is_set():
                return False
            pause = min(pause * _POLL_GROWTH, options.poll)

    async def _merge(self, part: Part) -> None:
        endpoint = self._session.endpoints.at(part.endpoint)
        batch = await batch_of(part, endpoint.api)
        if batch.finished is None and batch.word == "completed":
            batch = attrs.evolve(batch, finished=part.rows)  # Together counts nothing
        part.done = batch.finished or 0
        again = self._session.sends_at_once or part.round + 1 < MOST_ROUNDS
        merged = await self._merger.merge(part, batch, endpoint, final=not again)
        self._settling.settle(part, merged, part.round + 1)
        await self._setup.sync()
        if self._session.open_rows.undone.get(part.number, part.rows) <= part.drawn:
            await self._ledger.advance(part, Stage.SETTLED)
        else:
            await self._session.cancelled.note_failed(part)

    async def _cancel(self, part: Part, batch: str) -> None:
        api = self._session.endpoints.at(part.endpoint).api
        await attempt(lambda: api.cancel(batch), f"part {part.number}: cancel its batch")
