"""Brings parts through their batches, from the file of each to its merged results."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import NamedTuple

import anyio
import anyio.abc
import attrs

from headrace.bulk import EngineSetup, ResultHandler
from headrace_batch.cancelled_rows import CancelledRows
from headrace_batch.dialect import BatchState
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.merging import Merged, PartMerger
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part, Stage, Step
from headrace_batch.part_file import lines_of, part_path
from headrace_batch.part_steps import PartSteps, StepFailed, attempt, batch_of
from headrace_batch.pricing import PartMoney
from headrace_batch.recovery import OpenRows
from headrace_batch.refusal import Refusal, refusal_of_batch, refusal_of_step
from headrace_batch.waiting_rows import RowChain, WaitingRows

_MOST_ROUNDS = 3
"""In how many batches a row is sent before its last failure is final."""

_UPLOADS = 2
"""Uploads at the same time."""

_FIRST_POLL, _POLL_GROWTH = 1.0, 1.5
_ROOM_WAIT = 60.0
"""Seconds after which a batch is created again that was refused because others are enqueued."""


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


class PartDriver:
    """Takes all steps of parts.

    Args:
        setup: The run.
        options: The options.
        ledger: The ledger of the run.
        endpoints: The endpoints for parts.
        money: The budget.
        rows: The rows that wait, by part.
        open_rows: The rows of parts that earlier sessions have left.
        cancelled: The rows that were cancelled.

    Attributes:
        stopping: Set if the session must leave.
        finishing: Set if batches are to be cancelled, and their rows sent as ordinary calls.
        paused: Whether the run is paused: no part is uploaded, and no batch is created.
        left: The rows without a final result.
    """

    def __init__(
        self,
        setup: EngineSetup,
        options: BatchOptions,
        ledger: Ledger,
        endpoints: PartEndpoints,
        money: PartMoney,
        rows: WaitingRows,
        open_rows: OpenRows,
        cancelled: CancelledRows,
    ) -> None:
        self._setup = setup
        self._options = options
        self._ledger = ledger
        self._endpoints = endpoints
        self._money = money
        self._rows = rows
        self._open_rows = open_rows
        self._cancelled = cancelled
        self._steps = PartSteps(setup.run_id, ledger)
        self._uploads = anyio.CapacityLimiter(_UPLOADS)
        self._part_ended = anyio.Event()
        self.stopping: anyio.Event = anyio.Event()
        self.finishing: anyio.Event = anyio.Event()
        self.paused: bool = False
        self._resumed = anyio.Event()
        self.left: list[LeftRows] = []

    def resume(self) -> None:
        """End a pause."""
        self.paused = False
        resumed, self._resumed = self._resumed, anyio.Event()
        resumed.set()

    async def wait_while_paused(self) -> None:
        """Wait until the run is not paused, or the session leaves or finishes."""
        while self.paused and not (self.stopping.is_set() or self.finishing.is_set()):
            await self._wait(math.inf, self._resumed, self.stopping, self.finishing)

    def begin(self, handle: ResultHandler) -> None:
        """Hand over results to ``handle`` from now on."""
        self._merger = PartMerger(self._setup, self._rows, self._money, handle, self._cancelled)

    def _must_be_left(self, part: Part) -> bool:
        """Whether the rows of a part must be sent in another way, and no batch has them yet.

        Rows of an earlier session may be done in another way, or not wanted now: they must not be paid.
        """
        unwanted = part.drawn < part.rows or self._cancelled.are_in(part)
        return (self.finishing.is_set() or unwanted) and not part.at_endpoint

    async def drive_new(self, part: Part, unsent: anyio.Semaphore) -> None:
        """Bring a part to its end; ``unsent`` is released when it is at the endpoint."""
        if not (self._find_room(part) and self._try_reserve(part)):
            # Drawing goes on, because parts of an earlier session may take the room or the budget.
            unsent.release()
            await self._drive(part)
            return
        try:
            while not (part.at_endpoint or self.stopping.is_set() or self._must_be_left(part)):
                if part.stage is Stage.SETTLED:  # it was too large
                    break
                await self._take_step(part)
        finally:
            unsent.release()
        await self._drive(part)

    async def drive_resumed(self, part: Part) -> None:
        """Bring a part of an earlier session to its end, unless this session has none of its rows."""
        if not self._open_rows.undone[part.number]:
            if part.batch is not None and part.stage is Stage.CREATED and not part.adopted:
                await self._cancel(part, part.batch)
            if part.stage is not Stage.CREATING:
                await self._ledger.advance(part, Stage.SETTLED)
                return
        elif not part.outstanding:
            return  # this session works on other rows
        if part.stage is Stage.KEPT:
            self._setup.note_calls(True)
            await self._ledger.advance(part, Stage.ENDED)
        if part.at_endpoint:
            self._money.reserve_always(Decimal(part.reserved))
            part.has_reservation = True
        await self._drive(part)

    async def _drive(self, part: Part) -> None:
        while not self.stopping.is_set() and part.stage is not Stage.SETTLED:
            if self._must_be_left(part):
                self._leave_rows(part, part.round)
                await self._ledger.advance(part, Stage.SETTLED)
            elif part.next_step is Step.POLL:
                if not await self._poll(part):
                    return
            elif part.next_step is Step.MERGE:
                await self._merge(part)
                return
            else:
                await self._take_step(part)

    async def _take_step(self, part: Part) -> None:
        if part.next_step in {Step.UPLOAD, Step.CREATE}:
            if not await self._reserve(part):
                return
            await self.wait_while_paused()
        try:
            async with self._uploads:
                if self.stopping.is_set() or self._must_be_left(part):
                    return
                if part.next_step is Step.CREATE:
                    self._setup.note_calls(True)
                await self._steps.take(part, self._endpoints.at(part.endpoint).api)
        except StepFailed as error:
            if not await self._handle_refusal(part, refusal_of_step(error, part.rows)):
                raise

    async def _reserve(self, part: Part) -> bool:
        """Wait until there is room for a part; False if the session leaves before."""
        while not (self._find_room(part) and self._try_reserve(part)):
            await self._wait(_ROOM_WAIT, self._part_ended, self.stopping, self.finishing)
            if self.stopping.is_set() or self.finishing.is_set():
                return False
        return True

    def _find_room(self, part: Part) -> bool:
        """Whether the tokens of a part fit beside those of the batches of its model that have not ended."""
        if self._options.max_tokens is None or part.has_room:
            return True
        same = (part.endpoint, part.model)
        tokens = sum(
            each.tokens
            for each in self._ledger.parts.values()
            if each.takes_room and (each.endpoint, each.model) == same
        )
        part.has_room = not tokens or tokens + part.tokens <= self._options.max_tokens
        return part.has_room

    def _try_reserve(self, part: Part) -> bool:
        part.has_reservation = part.has_reservation or self._money.reserve(Decimal(part.reserved))
        return part.has_reservation

    async def _poll(self, part: Part) -> bool:
        """Wait until a batch has ended; False if the session leaves before."""
        endpoint, pause = self._endpoints.at(part.endpoint), min(_FIRST_POLL, self._options.poll)
        cancelled = False
        while True:
            batch = await batch_of(part, endpoint.api)
            part.state, part.done = batch.word, batch.finished or 0
            if batch.state is BatchState.ENDED:
                await self._ledger.advance(part, Stage.ENDED)
                return True
            if batch.state is BatchState.REFUSED:
                refusal = refusal_of_batch(batch, part.rows)
                if not await self._handle_refusal(part, refusal):
                    # The next session sends its rows in a new part.
                    await self._ledger.advance(part, Stage.SETTLED, refused=batch.id)
                    raise StepFailed(
                        f"the endpoint refused batch {batch.id} (part {part.number}): {refusal.text}"
                    )
                return True
            if self._options.detach:
                return False
            if self.finishing.is_set() and not cancelled:
                cancelled = True
                await self._cancel(part, batch.id)
            events = (self.stopping,) if cancelled else (self.stopping, self.finishing)
            await self._wait(pause * random.uniform(0.8, 1.2), *events)
            if self.stopping.is_set():
                return False
            pause = min(pause * _POLL_GROWTH, self._options.poll)

    async def _handle_refusal(self, part: Part, refusal: Refusal) -> bool:
        """Do what helps if an endpoint refuses a part; False if nothing does."""
        batch = refusal.batch
        others = any(each.at_endpoint and each is not part for each in self._ledger.parts.values())
        if part.adopted:
            self._setup.notify(f"The endpoint refused batch {batch}: {refusal.text}; its rows are sent.")
            self._leave_rows(part, part.round)
            await self._ledger.advance(part, Stage.SETTLED, refused=batch)
        elif refusal.has_no_room and others:
            if batch is not None:
                await self._ledger.advance(part, Stage.UPLOADED, refused=batch)
            await self._wait(_ROOM_WAIT, self._part_ended, self.stopping, self.finishing)
        elif refusal.lines and (len(refusal.lines) == part.rows or part.round + 1 < _MOST_ROUNDS):
            lines = enumerate(lines_of(part_path(self._ledger.folder, part.number)), 1)
            refused = {id: refusal.lines[number] for number, (id, _) in lines if number in refusal.lines}
            endpoint = self._endpoints.at(part.endpoint)
            self._settle(part, self._merger.refuse(part, endpoint, refused), part.round + 1)
            await self._setup.sync()
            await self._ledger.advance(part, Stage.SETTLED, refused=batch)
        elif refusal.limit is not None:
            size = part.size if refusal.limit == "bytes" else part.rows
            await self._ledger.learn(refusal.limit, size // 2)
            what = f"Part {part.number}" if batch is None else f"Batch {batch}"
            self._setup.notify(f"{what} is too large for the endpoint; smaller ones are made.")
            self._leave_rows(part, part.round)
            await self._ledger.advance(part, Stage.SETTLED, refused=batch)
        else:
            return False
        return True

    async def _merge(self, part: Part) -> None:
        endpoint = self._endpoints.at(part.endpoint)
        batch = await batch_of(part, endpoint.api)
        if batch.finished is None and batch.word == "completed":
            batch = attrs.evolve(batch, finished=part.rows)  # Together counts nothing
        again = self.sends_at_once or part.round + 1 < _MOST_ROUNDS
        merged = await self._merger.merge(part, batch, endpoint, final=not again)
        self._settle(part, merged, part.round + 1)
        await self._setup.sync()
        if self._open_rows.undone.get(part.number, part.rows) <= part.drawn:
            await self._ledger.advance(part, Stage.SETTLED)

    @property
    def sends_at_once(self) -> bool:
        """Whether rows that a batch did not finish are sent as ordinary calls."""
        return self._options.stragglers == "sync" or self.finishing.is_set()

    async def _cancel(self, part: Part, batch: str) -> None:
        api = self._endpoints.at(part.endpoint).api
        await attempt(lambda: api.cancel(batch), f"part {part.number}: cancel its batch")

    def _leave_rows(self, part: Part, round: int) -> None:
        """Send the rows of a part in another way."""
        self._settle(part, Merged(self._rows.take(part.number)), round)
        part.outstanding = 0

    def _settle(self, part: Part, merged: Merged, round: int) -> None:
        if part.has_reservation:
            self._money.settle(Decimal(part.reserved), merged.spent)
            part.has_reservation = False
        if merged.left:
            self.left.append(LeftRows(merged.left, part, round))
        ended, self._part_ended = self._part_ended, anyio.Event()
        ended.set()

    async def _wait(self, seconds: float, *events: anyio.Event) -> None:
        """Wait for one of these events, for at most so many seconds."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                for event in events:
                    group.start_soon(_cancel_after, event, group.cancel_scope)


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
