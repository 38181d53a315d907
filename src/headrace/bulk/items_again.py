"""Items of an input that are read a second time, because their lines were removed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Set
from typing import Any

from headrace.bulk.sources import Item, TaskInput


class ItemsAgain:
    """Reads the beginning of an input once more; an iterator, or for an async input an async iterator.

    Args:
        source: The input; it can be read several times.
        ids: The ids of the wanted items.
        before: The index at which the beginning ends.
    """

    def __init__(self, source: TaskInput, ids: Set[str], before: int) -> None:
        self._left = set(ids)
        self._before = before
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
            item: Item | None = await anext(self._items, None)
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
