"""Items of an input that are read a second time, because their lines were removed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Set
from typing import Any

from anyio.lowlevel import checkpoint

from headrace.bulk.sources import Item, TaskInput

_ROWS_PER_TURN = 256
"""Rows that are skipped before other tasks get a turn."""


class ItemsAgain:
    """Reads the beginning of an input once more.

    It is an iterator, unless the input is async, and an async iterator, between whose rows other tasks get a
    turn.

    Args:
        source: The input; it can be read several times.
        ids: The ids of the wanted items.
        before: The index at which the beginning ends.
    """

    def __init__(self, source: TaskInput, ids: Set[str], before: int) -> None:
        self._left = set(ids)
        self._before = before
        self._skipped = 0
        self._is_async = getattr(source, "is_async", False)
        self._items: Any = source.async_items() if self._is_async else source.items()  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while self._left:
            item: Item | None = next(self._items, None)
            if item is None or item.index >= self._before:
                break
            if self._take(item):
                return item
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        while self._left:
            item: Item | None
            if self._is_async:
                item = await anext(self._items, None)
            else:
                item = next(self._items, None)
                self._skipped += 1
                if self._skipped % _ROWS_PER_TURN == 0:
                    await checkpoint()
            if item is None or item.index >= self._before:
                break
            if self._take(item):
                return item
        raise StopAsyncIteration

    def _take(self, item: Item) -> bool:
        if item.id not in self._left:
            return False
        self._left.remove(item.id)
        return True
