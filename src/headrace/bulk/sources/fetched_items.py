"""Items of an input behind a URL, which are read in a worker thread: the event loop must not wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice

import anyio.to_thread

from headrace.bulk.sources.item import Item
from headrace.errors import InputError

_ITEMS = 256
"""Items that a thread reads at once; they are in memory."""


class FetchedItems(AsyncIterator[Item]):
    """Items of which some are fetched before they are needed; an iterator and an async iterator.

    Args:
        items: All items; only this object reads them.
        is_downloaded: Whether the whole input is on this machine, so that nothing needs to be fetched.
    """

    def __init__(self, items: Iterator[Item], is_downloaded: Callable[[], bool]) -> None:
        self._items = items
        self._is_downloaded = is_downloaded
        self._fetched: deque[Item] = deque()
        self._error: InputError | None = None
        self._lock = threading.Lock()

    @property
    def are_ready(self) -> bool:
        """Whether the next item, or the error in its place, can be read without waiting."""
        return bool(self._fetched) or self._error is not None or self._is_downloaded()

    async def fetch(self) -> None:
        """Wait until the next item is there, or the end was reached.

        A thread that was cancelled goes on until its download ends, and what it reads is not lost.
        """
        if not self.are_ready:
            await anyio.to_thread.run_sync(self._read, abandon_on_cancel=True)

    def _read(self) -> None:
        with self._lock:
            try:
                self._fetched.extend(islice(self._items, _ITEMS))
            except InputError as error:
                self._error = error

    async def __anext__(self) -> Item:
        await self.fetch()
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if not self._fetched and self._error is None:
            self._read()
        if self._fetched:
            return self._fetched.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration
