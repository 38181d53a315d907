"""The executor: rows into parts, parts through their batches, results into the run."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from headrace import HeadraceError, Outcome, Request, RunDetached
from headrace.bulk import EngineSetup, ResultHandler, WorkItem
from headrace.plugins import EncodedBody, encode_body, task_group
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part
from headrace_batch.part_builder import PartBuilder, PartKey
from headrace_batch.part_driver import LeftRows, PartDriver
from headrace_batch.part_file import custom_id_of, decode_request_line, line_at, part_path, request_line
from headrace_batch.pricing import PartMoney
from headrace_batch.recovery import OpenRows
from headrace_batch.row_file import RowFile
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
        self._rows = WaitingRows(waiting, lambda part, line: functools.partial(self._load, part, line))
        self._driver = PartDriver(setup, options, ledger, endpoints, money, self._rows, open_rows.undone)
        self._builder = PartBuilder(ledger, options, self._rows, self._planned)
        self._resumed = {number: ledger.parts[number] for number in open_rows.undone}
        self._unsent = anyio.Semaphore(_MOST_UNSENT)

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

    async def work(self, items: Iterable[WorkItem] | AsyncIterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        self._driver.begin(handle)
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
        while self._driver.left and not self._driver.stopping.is_set():
            left, self._driver.left = self._driver.left, []
            if self._driver.sends_at_once:
                await self._setup.call(self._unparked(left), self._handle)
            else:
                await self._make_round(functools.partial(self._send_again, left))
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
        return f"{_batches(live)} with {rows:,} rows {go} on at the endpoint."

    async def _make_round(self, fill: Callable[[], Awaitable[None]]) -> None:
        """Fill parts, and follow them and the resumed ones until all have ended or the session leaves."""
        async with task_group() as group:
            self._group = group
            await fill()
            resumed, self._resumed = self._resumed, {}
            self._open_rows.forget()
            for part in resumed.values():
                # Only now is it known which of its rows this session has drawn.
                group.start_soon(self._driver.drive_resumed, part)
            if not self._driver.stopping.is_set():
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
        model = request.model
        endpoint = self._endpoints.for_model(model)
        name = None if model is None else endpoint.calls.endpoint.name_of(model)
        if name != model:
            content = encode_body({**(request.body or {}), "model": name})
        custom_id = custom_id_of(item.id)
        line = request_line(
            custom_id, endpoint.dialect.url_prefix + request.path, endpoint.dialect.line, content
        )
        found = self._open_rows.take(custom_id, line) if self._resumed else None
        if found is not None and found.part in self._resumed:
            part = self._resumed[found.part]
            self._rows.add(found.part, item, found.line)
            part.outstanding += 1
            part.drawn += 1
        else:
            url = endpoint.calls.endpoint.base_url
            key = PartKey(request.path, model, url, 0)
            reserved = self._money.estimate(request, content, endpoint.calls.endpoint)
            await self._builder.add(key, line, item, reserved)
        self._setup.drawn.park(item)

    async def _send_again(self, left: list[LeftRows]) -> None:
        for rows, old, round in left:
            path = part_path(self._ledger.folder, old.number)
            key = PartKey(old.path, old.model, old.endpoint, round)
            share = Decimal(old.reserved) / max(1, old.rows)
            for number, (item, line) in enumerate(rows):
                await self._builder.add(key, line_at(path, line), item, share)
                if number % _ROWS_PER_TURN == 0:
                    await anyio.lowlevel.checkpoint()

    def _unparked(self, left: list[LeftRows]) -> Iterator[WorkItem]:
        for each in left:
            for item, _ in each.rows:
                self._setup.drawn.unpark(item)
                yield item

    def _load(self, number: int, line: int, id: str) -> Request:
        """The request of a row, read back from the file of its part."""
        part = self._ledger.parts[number]
        content = line_at(part_path(self._ledger.folder, number), line)
        body: Any = EncodedBody(bytes(decode_request_line(content).body))
        if part.model is not None and body.get("model") != part.model:
            body = {**body, "model": part.model}
        return Request(body, part.path, id=id, answer=self._setup.answer)

    async def _planned(self, part: Part) -> None:
        await self._unsent.acquire()
        self._group.start_soon(self._driver.drive_new, part, self._unsent)

    async def _finish_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._setup.notify("It is time to finish: the batches are cancelled, and the rest is sent at once.")
        self._driver.finishing.set()


def _batches(live: list[Part]) -> str:
    return f"{len(live):,} batch{'' if len(live) == 1 else 'es'}"
