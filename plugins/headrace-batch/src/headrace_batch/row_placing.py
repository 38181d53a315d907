"""Puts rows into parts: drawn ones into the part that has them or a new one, and left ones into new parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal

import anyio.lowlevel

from headrace import HeadraceError, Outcome, RequestError
from headrace.bulk import ResultHandler, WorkItem
from headrace.plugins import encode_body
from headrace_batch.cancelled_rows import not_sent
from headrace_batch.part_builder import PartBuilder, PartKey
from headrace_batch.part_file import custom_id_of, line_at, part_path, request_line
from headrace_batch.part_settling import LeftRows
from headrace_batch.pricing import RowNeeds
from headrace_batch.session import BatchSession

ROWS_PER_TURN = 64
"""Rows after which other tasks get their turn."""


class RowPlacing:
    """Puts rows of a session into parts.

    Args:
        session: The session.
        builder: Makes parts.
        handle: Gets the results of rows that fail without a call.
    """

    def __init__(self, session: BatchSession, builder: PartBuilder, handle: ResultHandler) -> None:
        self._session = session
        self._setup = session.setup
        self._builder = builder
        self._handle = handle
        self._at_once: list[WorkItem] = []

    @property
    def has_rows_at_once(self) -> bool:
        """Whether there are rows that no batch can have."""
        return bool(self._at_once)

    def take_at_once(self, left: list[LeftRows]) -> Iterator[WorkItem]:
        """The rows that are sent as ordinary calls: those that no batch can have, and left ones."""
        at_once, self._at_once = self._at_once, []
        return itertools.chain(at_once, self._unparked(left))

    async def place(self, item: WorkItem) -> None:
        """Put a row into the part that has it, or into a new one; without a valid request it fails."""
        session = self._session
        if session.signals.paused:
            await session.signals.wait_while_paused()
        try:
            request, content = self._setup.prepare(item)
        except HeadraceError as error:
            self._fail(item, error)
            return
        model = request.model
        endpoint = session.endpoints.for_model(model)
        name = None if model is None else endpoint.calls.endpoint.name_of(model)
        if name != model:
            content = encode_body({**(request.body or {}), "model": name})
        custom_id = custom_id_of(item.id, item.call)
        line = request_line(
            custom_id, endpoint.dialect.url_prefix + request.path, endpoint.dialect.line, content
        )
        item.tags = request.tags
        found = session.open_rows.take(custom_id, line) if session.resumed else None
        if found is not None:
            part = session.resumed[found.part]
            session.rows.add(found.part, item, found.line)
            part.outstanding += 1
            part.drawn += 1
            if part.adopted:
                session.open_rows.adopted.keep(custom_id, request, content)
        elif len(line) > session.options.max_bytes:
            self._place_large(item, len(line))
            return
        else:
            key = PartKey(request.path, model, endpoint.calls.endpoint.base_url, 0)
            needs = session.money.needs(request, content, endpoint.calls.endpoint)
            await self._builder.add(key, line, item, needs)
        self._setup.drawn.park(item)

    def _place_large(self, item: WorkItem, size: int) -> None:
        """Fail a row that no batch can have, or send it as an ordinary call if the user wants that."""
        if self._session.sends_at_once:
            self._at_once.append(item)
            return
        most = self._session.options.max_bytes
        message = (
            f"the request has {size:,} bytes, but the file of a batch at most {most:,}; make it smaller, for "
            "example with max_pixels=, or choose ordinary calls for such rows with stragglers="
        )
        self._fail(item, RequestError(message))

    def _fail(self, item: WorkItem, error: HeadraceError) -> None:
        """Fail a row without a call."""
        self._handle([self._setup.result(item, Outcome(item.index, None, None, error, item=item))])

    async def place_again(self, left: list[LeftRows]) -> None:
        """Put rows that batches did not finish into new parts."""
        for rows, old, round in left:
            path = part_path(self._session.ledger.folder, old.number)
            key = PartKey(old.path, old.model, old.endpoint, round)
            needs = RowNeeds(Decimal(old.reserved) / max(1, old.rows), old.tokens // max(1, old.rows))
            for number, (item, line) in enumerate(rows):
                if self._session.cancelled.take(item.id):
                    self._setup.drawn.unpark(item)
                    self._fail(item, not_sent())
                elif old.adopted:
                    self._setup.drawn.unpark(item)
                    await self.place(item)
                else:
                    await self._builder.add(key, line_at(path, line), item, needs)
                if number % ROWS_PER_TURN == 0:
                    await anyio.lowlevel.checkpoint()

    def _unparked(self, left: list[LeftRows]) -> Iterator[WorkItem]:
        for each in left:
            for item, _ in each.rows:
                self._setup.drawn.unpark(item)
                if self._session.cancelled.take(item.id):
                    item.fail(not_sent())
                yield item
