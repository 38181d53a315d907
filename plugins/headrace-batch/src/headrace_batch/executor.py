"""The executor: rows into parts, parts through their batches, results into the run."""

from __future__ import annotations

import datetime
import functools
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from headrace import HeadraceError, Outcome, Request, RunDetached
from headrace.bulk import EngineSetup, ResultHandler, WorkItem
from headrace.plugins import EncodedBody, encode_body, task_group
from headrace_batch.batch_api import PartEndpoint
from headrace_batch.dialect import BatchProblem, BatchState, BatchView
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.merging import Merged, PartMerger
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part, Stage, Step
from headrace_batch.part_builder import PartBuilder, PartKey
from headrace_batch.part_file import (
    PartReader,
    custom_id_of,
    decode_request_line,
    lines_of,
    part_path,
    request_line,
)
from headrace_batch.part_steps import PartSteps, StepFailed, attempt
from headrace_batch.pricing import PartMoney
from headrace_batch.recovery import OpenRows
from headrace_batch.row_table import RowTable

_MOST_ROUNDS = 3
"""In how many batches a row is sent before its last failure is final."""

_MOST_UNSENT = 3
"""Parts that wait on this disk for their upload; drawing rows pauses while there are more."""

_UPLOADS = 2
"""Uploads at the same time."""

_FIRST_POLL, _POLL_GROWTH = 1.0, 1.5
_ROOM_WAIT = 60.0
"""Seconds after which a batch is created again that was refused because others are enqueued."""

_ROWS_PER_TURN = 64
_TOKEN_LIMIT = re.compile(r"token_limit|enqueued token", re.IGNORECASE)
_TOO_LARGE = re.compile(r"too_many|too_large|too many|too large|exceeds|maximum", re.IGNORECASE)


class BatchExecutor:
    """An `Executor` over the batches of an endpoint.

    Args:
        setup: The run.
        options: The options.
        ledger: The ledger of the run.
        endpoints: The endpoints for parts.
        money: The budget.
        open_rows: The rows of parts that earlier sessions have left.
    """

    def __init__(
        self,
        setup: EngineSetup,
        options: BatchOptions,
        ledger: Ledger,
        endpoints: PartEndpoints,
        money: PartMoney,
        open_rows: OpenRows,
    ) -> None:
        self._setup = setup
        self._options = options
        self._ledger = ledger
        self._endpoints = endpoints
        self._money = money
        self._open_rows = open_rows
        self._rows = RowTable()
        self._steps = PartSteps(setup.run_id, ledger)
        self._builder = PartBuilder(ledger, options, self._rows, self._planned)
        self._resumed = {number: ledger.parts[number] for number in open_rows.undone}
        self._left: list[tuple[WorkItem, Part, int]] = []
        self._stopping = anyio.Event()
        self._finishing = anyio.Event()
        self._readers: dict[int, PartReader] = {}
        self._uploads = anyio.CapacityLimiter(_UPLOADS)
        self._unsent = anyio.Semaphore(_MOST_UNSENT)
        self._part_ended = anyio.Event()

    @property
    def in_flight(self) -> int:
        """The number of rows that are at the endpoint."""
        return sum(part.outstanding for part in self._live())

    @property
    def status(self) -> str:
        """How many batches there are, and how far they are."""
        live = self._live()
        if not live:
            return ""
        finished, rows = sum(part.done for part in live), sum(part.rows for part in live)
        return f"{len(live):,} batches, {finished:,}/{rows:,} finished there"

    def _live(self) -> list[Part]:
        return [part for part in self._ledger.parts.values() if part.at_endpoint]

    def stop(self) -> None:
        """Leave the batches to themselves."""
        self._stopping.set()

    async def work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        self._merger = PartMerger(self._setup, self._rows, self._money, handle)
        self._handle = handle
        try:
            async with task_group() as group:
                seconds = self._options.seconds_left(datetime.datetime.now().astimezone())
                if seconds is not None:
                    group.start_soon(self._finish_after, seconds)
                await self._work(items)
                group.cancel_scope.cancel()
        except HeadraceError as error:
            if self._live() and not isinstance(error, RunDetached):
                self._setup.notify(f"{self._going_on()} Then run the same command again.")
            raise
        finally:
            self._builder.discard()

    async def _work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        await self._make_round(functools.partial(self._draw, items))
        while self._left and not self._stopping.is_set():
            left, self._left = self._left, []
            if self._sends_at_once:
                await self._setup.call([item for item, _, _ in left], self._handle)
            else:
                await self._make_round(functools.partial(self._send_again, left))
        if self._live() and (self._stopping.is_set() or self._options.detach):
            raise RunDetached(
                f"{self._going_on()} Run the same command again to fetch their results, or cancel them with: "
                f"headrace batch cancel {self._setup.out}",
                interrupted=self._stopping.is_set(),
            )

    def _going_on(self) -> str:
        live = self._live()
        rows = sum(part.outstanding or part.rows for part in live)
        return f"{len(live):,} batches with {rows:,} rows go on at the endpoint."

    async def _make_round(self, fill: Callable[[], Awaitable[None]]) -> None:
        """Fill parts, and follow them and the resumed ones until all have ended or the session leaves."""
        async with task_group() as group:
            self._group = group
            await fill()
            resumed, self._resumed = self._resumed, {}
            for part in resumed.values():
                # Only now is it known which of its rows this session has drawn.
                group.start_soon(self._drive_resumed, part)
            if not self._stopping.is_set():
                await self._builder.finish()

    # Rows into parts.

    async def _draw(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        if isinstance(items, AsyncIterator):
            async for item in items:
                await self._place(item)
            return
        for number, item in enumerate(items):
            await self._place(item)
            if number % _ROWS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    async def _place(self, item: WorkItem) -> None:
        """Put a row into the part that has it, or into a new one; without a valid request it fails."""
        try:
            request, content = self._setup.prepare(item)
        except HeadraceError as error:
            self._handle([self._setup.result(item, Outcome(item.index, None, None, error, item=item))])
            return
        endpoint = self._endpoints.for_model(request.model)
        name = None if request.model is None else endpoint.calls.endpoint.name_of(request.model)
        if name != request.model:
            content = encode_body({**(request.body or {}), "model": name})
        custom_id = custom_id_of(item.id)
        line = request_line(
            custom_id, endpoint.dialect.url_prefix + request.path, endpoint.dialect.line, content
        )
        number = self._open_rows.part_with(custom_id, line)
        if number is not None and number in self._resumed:
            part = self._resumed[number]
            self._rows.assign(custom_id, item, number)
            part.outstanding += 1
            part.drawn += 1
        else:
            url = endpoint.calls.endpoint.base_url
            key = PartKey(request.path, request.model, url, 0)
            reserved = self._money.estimate(request, content, endpoint.calls.endpoint)
            number = await self._builder.add(key, custom_id, line, item, reserved)
        item.store_request(functools.partial(self._load, number))

    async def _send_again(self, left: list[tuple[WorkItem, Part, int]]) -> None:
        for item, old, round in left:
            custom_id = custom_id_of(item.id)
            line = self._reader(old.number).line(custom_id)
            key = PartKey(old.path, old.model, old.endpoint, round)
            share = Decimal(old.reserved) / max(1, old.rows)
            number = await self._builder.add(key, custom_id, line, item, share)
            item.store_request(functools.partial(self._load, number))

    def _reader(self, number: int) -> PartReader:
        if number not in self._readers:
            self._readers[number] = PartReader(part_path(self._ledger.folder, number))
        return self._readers[number]

    def _load(self, number: int, id: str) -> Request:
        """The request of a row, read back from the file of its part."""
        part = self._ledger.parts[number]
        body: Any = EncodedBody(bytes(decode_request_line(self._reader(number).line(custom_id_of(id))).body))
        if part.model is not None and body.get("model") != part.model:
            body = {**body, "model": part.model}
        return Request(body, part.path, id=id, answer=self._setup.answer)

    async def _planned(self, part: Part) -> None:
        await self._unsent.acquire()
        self._group.start_soon(self._drive_new, part)

    # Parts through their batches.

    async def _drive_new(self, part: Part) -> None:
        if not self._try_reserve(part):  # drawing goes on, because resumed parts may have the budget
            self._unsent.release()
            await self._drive(part)
            return
        try:
            while not (part.at_endpoint or self._stopping.is_set() or self._finishing.is_set()):
                await self._take_step(part)
        finally:
            self._unsent.release()
        await self._drive(part)

    async def _drive_resumed(self, part: Part) -> None:
        if not self._open_rows.undone[part.number]:
            if part.batch is not None and part.stage is Stage.CREATED:
                await self._cancel(part, part.batch)
            if part.stage is not Stage.CREATING:
                await self._ledger.advance(part, Stage.SETTLED)
                return
        elif not part.outstanding:
            return  # this session works on other rows
        if part.at_endpoint:
            self._money.reserve_always(Decimal(part.reserved))
            part.has_reservation = True
        await self._drive(part)

    async def _drive(self, part: Part) -> None:
        while not self._stopping.is_set() and part.stage is not Stage.SETTLED:
            if self._finishing.is_set() and not part.at_endpoint:
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
        if part.next_step is Step.UPLOAD and not await self._reserve(part):
            return
        async with self._uploads:
            if not self._stopping.is_set():
                await self._steps.take(part, self._endpoints.at(part.endpoint).api)

    async def _reserve(self, part: Part) -> bool:
        """Wait until the budget has room for a part; False if the session leaves before."""
        while not self._try_reserve(part):
            await self._wait(_ROOM_WAIT, self._part_ended, self._stopping, self._finishing)
            if self._stopping.is_set() or self._finishing.is_set():
                return False
        return True

    def _try_reserve(self, part: Part) -> bool:
        part.has_reservation = part.has_reservation or self._money.reserve(Decimal(part.reserved))
        return part.has_reservation

    async def _poll(self, part: Part) -> bool:
        """Wait until a batch has ended; False if the session leaves before."""
        endpoint, pause = self._endpoints.at(part.endpoint), min(_FIRST_POLL, self._options.poll)
        cancelled = False
        while True:
            batch = await attempt(
                lambda: endpoint.api.batch(part.batch or ""), f"part {part.number}: look at its batch"
            )
            part.state, part.done = batch.word, batch.finished or 0
            if batch.state is BatchState.ENDED:
                await self._ledger.advance(part, Stage.ENDED)
                return True
            if batch.state is BatchState.REFUSED:
                await self._handle_refusal(part, batch, endpoint)
                return True
            if self._options.detach:
                return False
            if self._finishing.is_set() and not cancelled:
                cancelled = True
                await self._cancel(part, batch.id)
            events = (self._stopping,) if cancelled else (self._stopping, self._finishing)
            await self._wait(pause * random.uniform(0.8, 1.2), *events)
            if self._stopping.is_set():
                return False
            pause = min(pause * _POLL_GROWTH, self._options.poll)

    async def _handle_refusal(self, part: Part, batch: BatchView, endpoint: PartEndpoint) -> None:
        problems = batch.problems or (BatchProblem("", "the endpoint gives no reason"),)
        first = problems[0]
        text = f"{first.code} {first.message}"
        of_lines = {each.line: each.message for each in problems if each.line is not None}
        if _TOKEN_LIMIT.search(text):
            await self._ledger.advance(part, Stage.UPLOADED, refused=batch.id)
            await self._wait(_ROOM_WAIT, self._part_ended, self._stopping, self._finishing)
        elif of_lines and part.round + 1 < _MOST_ROUNDS:
            lines = enumerate(lines_of(part_path(self._ledger.folder, part.number)), 1)
            refusals = {id: of_lines[number] for number, (id, _) in lines if number in of_lines}
            self._settle(part, self._merger.refuse(part, endpoint, refusals), part.round + 1)
            await self._setup.sync()
            await self._ledger.advance(part, Stage.SETTLED, refused=batch.id)
        elif _TOO_LARGE.search(text) and part.rows > 1:
            by_size = "size" in text or "large" in text or "bytes" in text
            limit = (part.size if by_size else part.rows) // 2
            await self._ledger.learn("bytes" if by_size else "requests", limit)
            self._setup.notify(f"Batch {batch.id} is too large for the endpoint; smaller ones are made.")
            self._leave_rows(part, part.round)
            await self._ledger.advance(part, Stage.SETTLED, refused=batch.id)
        else:
            raise StepFailed(f"the endpoint refused batch {batch.id} (part {part.number}): {text.strip()}")

    async def _merge(self, part: Part) -> None:
        endpoint = self._endpoints.at(part.endpoint)
        batch = await attempt(
            lambda: endpoint.api.batch(part.batch or ""), f"part {part.number}: look at its batch"
        )
        again = self._sends_at_once or part.round + 1 < _MOST_ROUNDS
        merged = await self._merger.merge(part, batch, endpoint, final=not again)
        self._settle(part, merged, part.round + 1)
        await self._setup.sync()
        if self._open_rows.undone.get(part.number, part.rows) <= part.drawn:
            await self._ledger.advance(part, Stage.SETTLED)

    @property
    def _sends_at_once(self) -> bool:
        """Whether rows that a batch did not finish are sent as ordinary calls."""
        return self._options.stragglers == "sync" or self._finishing.is_set()

    async def _cancel(self, part: Part, batch: str) -> None:
        api = self._endpoints.at(part.endpoint).api
        await attempt(lambda: api.cancel(batch), f"part {part.number}: cancel its batch")

    def _leave_rows(self, part: Part, round: int) -> None:
        """Send the rows of a part in another way."""
        self._settle(part, Merged(list(self._rows.take_all(part))), round)

    def _settle(self, part: Part, merged: Merged, round: int) -> None:
        if part.has_reservation:
            self._money.settle(Decimal(part.reserved), merged.spent)
            part.has_reservation = False
        self._left += [(item, part, round) for item in merged.left]
        ended, self._part_ended = self._part_ended, anyio.Event()
        ended.set()

    async def _wait(self, seconds: float, *events: anyio.Event) -> None:
        """Wait for one of these events, for at most so many seconds."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                for event in events:
                    group.start_soon(_cancel_after, event, group.cancel_scope)

    async def _finish_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._setup.notify("It is time to finish: the batches are cancelled, and the rest is sent at once.")
        self._finishing.set()


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
