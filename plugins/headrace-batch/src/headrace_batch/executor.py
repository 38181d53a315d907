"""The executor: rows into parts, parts through their batches, results into the run."""

from __future__ import annotations

import datetime
import functools
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Set
from decimal import Decimal

import anyio
import anyio.abc
import anyio.lowlevel

from headrace import HeadraceError, Outcome, Request, RequestError, RunDetached
from headrace.bulk import EngineSetup, ResultHandler, WorkItem
from headrace.plugins import encode_body, estimate_prompt_tokens, task_group
from headrace_batch.cancelled_rows import CancelledRows, not_sent
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.one_error import one_error
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part
from headrace_batch.part_builder import PartBuilder, PartKey, RowNeeds
from headrace_batch.part_driver import LeftRows, PartDriver
from headrace_batch.part_file import custom_id_of, decode_request_line, line_at, part_path, request_line
from headrace_batch.part_schedule import PartSchedule
from headrace_batch.pricing import PartMoney
from headrace_batch.recovery import OpenRows, settle_ended
from headrace_batch.row_file import RowFile
from headrace_batch.stored_request import stored_request
from headrace_batch.waiting_rows import WaitingRows

_MOST_UNSENT = 3
"""Parts that wait on this disk for their upload; drawing rows pauses while there are more."""

_ROWS_PER_TURN = 64


class BatchExecutor:
    """An `Executor` over the batches of an endpoint.

    Args:
        setup: The run.
        options: The options.
        ledger: The ledger of the run.
        endpoints: The endpoints for parts.
        money: The budget.
        open_rows: The rows of parts that earlier sessions have left.
        waiting: Where the rows that wait are kept.
    """

    def __init__(
        self,
        setup: EngineSetup,
        options: BatchOptions,
        ledger: Ledger,
        endpoints: PartEndpoints,
        money: PartMoney,
        open_rows: OpenRows,
        waiting: RowFile,
    ) -> None:
        self._setup = setup
        self._options = options
        self._ledger = ledger
        self._endpoints = endpoints
        self._money = money
        self._open_rows = open_rows
        self._rows = WaitingRows(waiting, lambda *place: functools.partial(self._load, *place))
        self._cancelled = CancelledRows(self._rows, ledger)
        self._driver = PartDriver(
            setup, options, ledger, endpoints, money, self._rows, open_rows, self._cancelled
        )
        self._builder = PartBuilder(ledger, options, self._rows, self._planned)
        self._resumed = {number: ledger.parts[number] for number in open_rows.undone}
        self._unsent = anyio.Semaphore(_MOST_UNSENT)
        self._schedule = PartSchedule(options.poll, self._driver.finishing.is_set)
        self._at_once: list[WorkItem] = []
        self._takes_rows = False
        self._drawn_again = 0

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
        return f"{_batches(live)}, {finished:,}/{rows:,} finished there"

    def _live(self) -> list[Part]:
        return [part for part in self._ledger.parts.values() if part.at_endpoint]

    def stop(self) -> None:
        """Leave the batches to themselves."""
        self._driver.stopping.set()
        self._schedule.note_change()

    def cancel_parked(self, ids: Set[str]) -> tuple[set[str], set[str]]:
        """Let the rows of parts with these ids fail; see `CancelledRows.add`."""
        return self._cancelled.add(ids)

    def pause(self) -> None:
        """Make no new batches; those at the endpoint go on, and their results are fetched."""
        self._driver.paused = True

    def resume(self) -> None:
        """Make batches again."""
        self._driver.resume()

    def draw_again(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        """Draw these rows, too, and send them in new batches; if the work is ending, in the next pass."""
        if self._takes_rows:
            self._drawn_again += 1
            self._group.start_soon(self._draw_again, items)

    async def _draw_again(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        await self._draw(items)
        self._drawn_again -= 1
        self._schedule.note_change()

    async def work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        self._driver.begin(handle)
        self._handle = handle
        try:
            async with one_error(self._ledger.folder), task_group() as group:
                seconds = self._options.seconds_left(datetime.datetime.now().astimezone())
                if seconds is not None:
                    group.start_soon(self._finish_after, seconds)
                await self._work(items)
                group.cancel_scope.cancel()
        except HeadraceError as error:
            if self._live() and not isinstance(error, RunDetached):
                going_on = self._going_on()
                self._setup.notify(f"{going_on} Run the same command again when this is mended:")
            raise
        finally:
            self._builder.discard()

    async def _work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        async with task_group() as group:
            self._group, self._items, self._all_drawn = group, items, False
            self._drawing = anyio.CancelScope()
            if self._setup.calls != "single":
                items.when_waiting = self._schedule.note_change  # type: ignore[union-attr]  # a `CallFeed`
            group.start_soon(self._draw_all, items)
            self._takes_rows, self._drawn_again = True, 0
            try:
                await self._follow()
            finally:
                self._takes_rows = False
        await settle_ended(self._ledger, self._open_rows, self._setup.sync)
        if self._live() and (self._driver.stopping.is_set() or self._options.detach):
            raise RunDetached(
                f"{self._going_on()} Run the same command again to fetch their results, or cancel them with: "
                f"headrace batch cancel {self._setup.out}",
                interrupted=self._driver.stopping.is_set(),
            )

    def _going_on(self) -> str:
        live = self._live()
        rows = sum(part.outstanding or part.rows for part in live)
        go = "goes" if len(live) == 1 else "go"
        return f"{_batches(live)} with {rows:,} row{'' if rows == 1 else 's'} {go} on at the endpoint."

    async def _follow(self) -> None:
        """Send what was drawn, until nothing is left to send and to wait for, or the session leaves."""
        while not self._driver.stopping.is_set():
            change, seconds = self._schedule.next_change(), math.inf
            if self._no_row_comes:
                self._start_resumed()
                await self._send_left()
            if self._no_row_comes:
                unsent = self._builder.has_open or self._driver.left or self._at_once
                if self._schedule.is_idle and not unsent:
                    self._drawing.cancel()  # of a session that detaches: rows come after results only
                    return
                seconds = self._schedule.seconds_left() if self._builder.has_open else math.inf
            if seconds == 0:
                await self._builder.finish()
            else:
                with anyio.move_on_after(seconds):
                    await change.wait()

    @property
    def _no_row_comes(self) -> bool:
        """Whether no row comes before further results."""
        return not self._drawn_again and (self._all_drawn or getattr(self._items, "is_waiting", False))

    def _start_resumed(self) -> None:
        """Follow the parts of earlier sessions; only now is it known which of their rows were drawn."""
        if self._resumed:
            for text in self._open_rows.adopted.describe(self._open_rows.done):
                self._setup.notify(text)
        resumed, self._resumed = self._resumed, {}
        for part in resumed.values():
            self._start(part, functools.partial(self._driver.drive_resumed, part))

    def _start(self, part: Part | None, work: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            try:
                await work()
            finally:
                self._schedule.end(part)

        self._schedule.begin(part)
        self._group.start_soon(do)

    # Rows into parts.

    async def _draw_all(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem]) -> None:
        with self._drawing:
            await self._draw(items)
        self._all_drawn = True
        self._schedule.note_change()

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
        if self._driver.paused:
            await self._driver.wait_while_paused()
        try:
            request, content = self._setup.prepare(item)
        except HeadraceError as error:
            self._fail(item, error)
            return
        model = request.model
        endpoint = self._endpoints.for_model(model)
        name = None if model is None else endpoint.calls.endpoint.name_of(model)
        if name != model:
            content = encode_body({**(request.body or {}), "model": name})
        custom_id = custom_id_of(item.id, item.call)
        line = request_line(
            custom_id, endpoint.dialect.url_prefix + request.path, endpoint.dialect.line, content
        )
        item.tags = request.tags
        found = self._open_rows.take(custom_id, line) if self._resumed else None
        if found is not None:
            part = self._resumed[found.part]
            self._rows.add(found.part, item, found.line)
            part.outstanding += 1
            part.drawn += 1
            if part.adopted:
                self._open_rows.adopted.keep(custom_id, request, content)
        elif len(line) > self._options.max_bytes:
            self._place_large(item, len(line))
            return
        else:
            url = endpoint.calls.endpoint.base_url
            key = PartKey(request.path, model, url, 0)
            reserved = self._money.estimate(request, content, endpoint.calls.endpoint)
            tokens = 0 if self._options.max_tokens is None else estimate_prompt_tokens(content)
            await self._builder.add(key, line, item, RowNeeds(reserved, tokens))
        self._setup.drawn.park(item)

    def _place_large(self, item: WorkItem, size: int) -> None:
        """Fail a row that no batch can have, or send it as an ordinary call if the user wants that."""
        if self._driver.sends_at_once:
            self._at_once.append(item)
            return
        most = self._options.max_bytes
        message = (
            f"the request has {size:,} bytes, but the file of a batch at most {most:,}; make it smaller, for "
            "example with max_pixels=, or choose ordinary calls for such rows with stragglers="
        )
        self._fail(item, RequestError(message))

    def _fail(self, item: WorkItem, error: HeadraceError) -> None:
        """Fail a row without a call."""
        self._handle([self._setup.result(item, Outcome(item.index, None, None, error, item=item))])

    async def _send_left(self) -> None:
        """Send the rows that batches did not finish, and those that no batch can have."""
        left, self._driver.left = self._driver.left, []
        at_once, self._at_once = self._at_once, []
        if self._driver.sends_at_once and (at_once or left):
            items = itertools.chain(at_once, self._unparked(left))
            self._start(None, functools.partial(self._setup.call, items, self._handle))
        else:
            await self._send_again(left)

    async def _send_again(self, left: list[LeftRows]) -> None:
        for rows, old, round in left:
            path = part_path(self._ledger.folder, old.number)
            key = PartKey(old.path, old.model, old.endpoint, round)
            needs = RowNeeds(Decimal(old.reserved) / max(1, old.rows), old.tokens // max(1, old.rows))
            for number, (item, line) in enumerate(rows):
                if self._cancelled.take(item.id):
                    self._setup.drawn.unpark(item)
                    self._fail(item, not_sent())
                elif old.adopted:
                    self._setup.drawn.unpark(item)
                    await self._place(item)
                else:
                    await self._builder.add(key, line_at(path, line), item, needs)
                if number % _ROWS_PER_TURN == 0:
                    await anyio.lowlevel.checkpoint()

    def _unparked(self, left: list[LeftRows]) -> Iterator[WorkItem]:
        for each in left:
            for item, _ in each.rows:
                self._setup.drawn.unpark(item)
                if self._cancelled.take(item.id):
                    item.fail(not_sent())
                yield item

    def _load(self, number: int, line: int, step: int, tags: Mapping[str, str], id: str) -> Request:
        """The request of a row, read back from the disk; of an adopted batch, the one of this run."""
        part, answer = self._ledger.parts[number], self._setup.answers[step]
        if part.adopted:
            return self._open_rows.adopted.request(id, answer, tags)
        content = line_at(part_path(self._ledger.folder, number), line)
        body = bytes(decode_request_line(content).body)
        return stored_request(id, part.path, part.model, body, answer, tags)

    async def _planned(self, part: Part) -> None:
        if self._setup.calls != "single":
            await self._setup.sync()  # a row must not go back to an earlier call when it has a later one
        await self._unsent.acquire()
        self._start(part, functools.partial(self._driver.drive_new, part, self._unsent))

    async def _finish_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._setup.notify("It is time to finish: the batches are cancelled, and the rest is sent at once.")
        self._driver.finishing.set()
        self._schedule.note_change()


def _batches(live: list[Part]) -> str:
    return f"{len(live):,} batch{'' if len(live) == 1 else 'es'}"
