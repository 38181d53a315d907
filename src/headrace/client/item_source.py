"""The input of a map: an iterable or async iterable, read one item at a time and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from typing import Any

import anyio

EXHAUSTED: Any = object()
"""The result of `ItemSource.next_item` when there are no more items."""


class ItemSource:
    """Reads items from an iterable or async iterable.

    Attributes:
        next_item: Returns the next item, or `EXHAUSTED` after the last item, after an error, and once
            ``is_over`` is set. The result must be awaited if ``is_async`` is true.
        is_async: Whether the input is an async iterable.
        is_over: Whether no more items are read.
        error: The error that the input raised; None without one.
    """

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.is_async: bool = isinstance(items, AsyncIterable)
        self.is_over: bool = False
        self.error: Exception | None = None
        self.next_item: Callable[[], Any]
        self._close: Callable[[], object] | None = None
        if isinstance(items, AsyncIterable):
            async_iterator = aiter(items)
            self.next_item = self._reading_async(async_iterator.__anext__)
            if isinstance(async_iterator, AsyncGenerator) or async_iterator is not items:
                self._close = getattr(async_iterator, "aclose", None)
        else:
            iterator = iter(items)
            self.next_item = self._reading(iterator.__next__)
            # The caller must close its own iterator, such as a file. Generators are closed here, because
            # nothing else does.
            if isinstance(iterator, Generator) or iterator is not items:
                self._close = getattr(iterator, "close", None)

    def _reading(self, advance: Callable[[], Any]) -> Callable[[], Any]:
        def next_item() -> Any:
            if self.is_over:
                return EXHAUSTED
            try:
                return advance()
            except StopIteration:
                self.is_over = True
            except Exception as error:
                self.is_over, self.error = True, error
            return EXHAUSTED

        return next_item

    def _reading_async(self, advance: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        lock = anyio.Lock(fast_acquire=True)

        async def next_item() -> Any:
            # One task at a time: two tasks cannot advance an async generator at once.
            async with lock:
                if self.is_over:
                    return EXHAUSTED
                try:
                    return await advance()
                except StopAsyncIteration:
                    self.is_over = True
                except Exception as error:
                    self.is_over, self.error = True, error
                return EXHAUSTED

        return next_item

    async def aclose(self) -> None:
        """Close the input if it is a generator or an iterator made here; raises the errors of its code."""
        close, self._close = self._close, None
        if close is not None:
            closed = close()
            if self.is_async and isinstance(closed, Awaitable):
                await closed
