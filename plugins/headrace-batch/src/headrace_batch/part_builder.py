"""Writes rows into the files of parts: one part for each path, model and endpoint at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import attrs

from headrace.bulk import WorkItem
from headrace_batch.ledger import Ledger
from headrace_batch.options import BatchOptions
from headrace_batch.part import Part
from headrace_batch.part_file import PartWriter, part_path, remove_file
from headrace_batch.pricing import RowNeeds
from headrace_batch.waiting_rows import WaitingRows


class PartKey(NamedTuple):
    """What all rows of a part have in common; see `Part`."""

    path: str
    model: str | None
    endpoint: str
    round: int


@attrs.define
class _Open:
    number: int
    writer: PartWriter
    reserved: Decimal = Decimal(0)
    tokens: int = 0


class PartBuilder:
    """Collects rows, and plans a part when its file is full.

    Args:
        ledger: The ledger of the run.
        options: The user's limits; those that the endpoint taught are in the ledger.
        rows: Where rows wait, by part.
        planned: Called with each planned part.
    """

    def __init__(
        self,
        ledger: Ledger,
        options: BatchOptions,
        rows: WaitingRows,
        planned: Callable[[Part], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._options = options
        self._rows = rows
        self._planned = planned
        self._open: dict[PartKey, _Open] = {}
        self._next_number = max(ledger.parts, default=0) + 1

    async def add(self, key: PartKey, line: bytes, item: WorkItem, needs: RowNeeds) -> None:
        """Put a row into a part."""
        while (open_part := self._open.get(key)) and not self._has_room(open_part, line, needs.tokens):
            await self._plan(key)
        if open_part is None:
            number, self._next_number = self._next_number, self._next_number + 1
            open_part = self._open[key] = _Open(number, PartWriter(self._ledger.folder, number))
        self._rows.add(open_part.number, item, open_part.writer.size)
        open_part.writer.add(line)
        open_part.reserved += needs.reserved
        open_part.tokens += needs.tokens

    async def finish(self) -> None:
        """Plan the parts that are not full now."""
        for key in list(self._open):
            if key in self._open:  # otherwise it became full
                await self._plan(key)

    @property
    def has_open(self) -> bool:
        """Whether there are parts that are not full."""
        return bool(self._open)

    def discard(self) -> None:
        """Remove the files of parts that are not planned; their rows are left unsent."""
        for open_part in self._open.values():
            open_part.writer.discard()
        self._open.clear()

    def _has_room(self, open_part: _Open, line: bytes, tokens: int) -> bool:
        most, limits, writer = self._options.max_tokens, self._ledger.limits, open_part.writer
        if most is not None and open_part.tokens + tokens > most:
            return False
        requests = min(self._options.max_requests, limits.get("requests", self._options.max_requests))
        size = min(self._options.max_bytes, limits.get("bytes", self._options.max_bytes))
        return writer.rows < requests and writer.size + len(line) <= size

    async def _plan(self, key: PartKey) -> None:
        open_part = self._open.pop(key)
        writer = open_part.writer
        try:
            digest = await anyio.to_thread.run_sync(writer.finish)  # a slow disk must not hold up uploads
        except BaseException:
            writer.discard()
            raise
        part = Part(
            number=open_part.number,
            rows=writer.rows,
            size=writer.size,
            digest=digest,
            path=key.path,
            model=key.model,
            endpoint=key.endpoint,
            round=key.round,
            reserved=str(open_part.reserved),
            tokens=open_part.tokens,
            outstanding=writer.rows,
            drawn=writer.rows,
        )
        await self._ledger.plan(part)
        await self._planned(part)


def remove_unplanned(folder: Path, parts: dict[int, Part]) -> None:
    """Remove files that a killed session has not planned, and those of settled parts."""
    for path in _files(folder):
        number = path.stem.removeprefix("part-")
        part = parts.get(int(number)) if number.isdecimal() else None
        if path.suffix == ".new" or part is None or part.next_step.name == "NOTHING":
            remove_file(path)


def remove_settled(folder: Path, parts: dict[int, Part]) -> None:
    """Remove the files of settled parts."""
    for part in parts.values():
        if part.next_step.name == "NOTHING":
            remove_file(part_path(folder, part.number))


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("part-*")
