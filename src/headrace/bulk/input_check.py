"""Reads the whole input of a run, a part at a time: counts the items, and finds those that are not valid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from headrace._support.text import also_named, quoted
from headrace.bulk.id_table import IdTable
from headrace.bulk.run_task import RunTask
from headrace.bulk.sources import Item, Source, TaskInput
from headrace.bulk.sources.fetched_items import FetchedItems
from headrace.errors import InputError

FIRST_PART = 0.5
"""Seconds that a run reads its input before it sends. It reads a longer input beside the sending."""

_ITEMS_PER_STEP = 64
"""Items between two looks at the clock."""


class DoneItems(Protocol):
    """What was done in earlier sessions; a `Journal` is one."""

    @property
    def done(self) -> int: ...
    def is_done(self, item: Item, /) -> bool: ...
    def digest_of(self, id: str, /) -> int | None:
        """The digest of the row of a done item: 0 if unknown, None if the item is not done."""

    def has_failed(self, id: str, /) -> bool:
        """Whether a done item failed."""


class InputCheck:
    """Checks each item of a task's input: its row, its id, and whether it is done and unchanged.

    Args:
        task: The task.
        kept: How many of the first items need not be read again by `compare`. Their ids and digests are kept.

    Attributes:
        total: The number of items that were read so far.
        done: How many of them are done.
        failed: How many of these failed.
        finished: Whether the whole input was read.
        reads_ahead: Whether `advance` reads the input. Rows that can be read only once are checked by `add`
            when they are drawn.
    """

    def __init__(self, task: RunTask, kept: int = 0) -> None:
        self._task = task
        self._kept = kept
        self._first: list[tuple[str, int, int]] = []
        self.reads_ahead: bool = getattr(task.source, "repeatable", True)
        self._fetched: FetchedItems | None = None
        if isinstance(task.source, Source) and task.source.is_async:
            self._fetched = task.source.async_items()
        ahead = self._fetched or (task.source.items() if self.reads_ahead else ())
        self._items: Iterator[Item] = iter(ahead)
        self._ids = IdTable(0)
        self._done_items: DoneItems | None = None
        self._changed: list[tuple[str, int]] = []
        self.total: int = 0
        self.done: int = 0
        self.failed: int = 0
        self.finished: bool = False

    def __contains__(self, id: str) -> bool:
        return self._ids.get(id) is not None

    def finish(self) -> int:
        """Read the rest, and return the number of items; raises `InputError` as `advance` does."""
        while self.reads_ahead and not self.finished:
            self.advance(60.0)
        return self.total

    async def fetch(self) -> None:
        """Wait in a worker thread for items that come from the network; other items need no waiting."""
        if self._fetched is not None:
            await self._fetched.fetch()

    def advance(self, seconds: float, *, only_fetched: bool = False) -> None:
        """Read on for a time.

        Args:
            seconds: The time.
            only_fetched: Whether to end earlier if the next items are not there; see `fetch`.

        Raises:
            InputError: An item is not valid, an id occurs twice, a done item's row has changed, or the input
                has no items.
        """
        if not self.reads_ahead:
            return
        end = time.perf_counter() + seconds
        while not self.finished:
            self._read_some()
            if only_fetched and self._fetched is not None and not self._fetched.are_ready:
                break
            if time.perf_counter() >= end:
                break
        if not self.total and self._task.source.kind != "rows":  # a program may have no rows
            raise InputError(f"{self._task.source.name}: no items")
        self._refuse_changed()

    def _read_some(self) -> None:
        self.finished = True
        for item in islice(self._items, _ITEMS_PER_STEP):
            self.finished = False
            self._add(item)

    def add(self, item: Item) -> None:
        """Check an item that was drawn; raises `InputError` as `advance` does."""
        self._add(item)
        self._refuse_changed()

    def _add(self, item: Item) -> None:
        self._task.check_item(item)
        if not self._ids.set(item.id, b""):
            raise InputError(_duplicate(self._task.source, item, self.reads_ahead))
        self.total += 1
        if self._done_items is not None:
            self._compare(item, self._done_items)
        elif self.total <= self._kept:
            self._first.append((item.id, item.line, self._task.digest(item)))

    def compare(self, done_items: DoneItems) -> None:
        """Count the items that are done, also among those that `advance` will read.

        Raises:
            InputError: A done item's row has changed.
        """
        self._done_items = done_items
        if done_items.done and self.reads_ahead:
            for id, line, digest in self._first:
                if done_items.digest_of(id) is not None:
                    self._count_done(id, line, digest, done_items)
            if self.total > len(self._first):
                for item in islice(self._task.source.items(), len(self._first), self.total):
                    self._compare(item, done_items)
            self._refuse_changed()
        self._first = []

    def _compare(self, item: Item, done_items: DoneItems) -> None:
        if done_items.is_done(item):
            self._count_done(item.id, item.line, self._task.digest(item), done_items)

    def _count_done(self, id: str, line: int, digest: int, done_items: DoneItems) -> None:
        self.done += 1
        self.failed += done_items.has_failed(id)
        if done_items.digest_of(id) not in (0, digest):
            self._changed.append((id, line))

    def has_changed(self, item: Item, done_items: DoneItems) -> bool:
        """Whether the row of an item has changed since it was done."""
        return done_items.digest_of(item.id) not in {None, 0, self._task.digest(item)}

    def _refuse_changed(self) -> None:
        if not self._changed:
            return
        (first, line), *others = self._changed
        also = also_named([id for id, _ in others])
        where = self._task.source.where(line)
        raise InputError(
            f"{where}: the row of {quoted(first)} has changed since it was done{also}; "
            'put it back, or send changed rows again with changed="resend"'
        )


def _duplicate(source: TaskInput, second: Item, repeatable: bool) -> str:
    """A message that names the item, and the first one with its id if the input can be read again."""
    unit = "line" if source.kind in {"csv", "jsonl", "batch"} else "row"
    first = ""
    if repeatable:
        line = next(item.line for item in source.items() if item.id == second.id)
        first = f", first in {unit} {line}"
    name = "id" if source.id_column is None else source.id_column
    return (
        f"{source.where(second.line)}: duplicate {name} {quoted(second.id)}{first}; "
        "name a column of distinct ids with id_column="
    )
