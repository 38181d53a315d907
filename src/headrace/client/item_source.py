"""The items of a map: drawn one at a time from a sync or async source, which is closed in the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from typing import Any

import anyio

EXHAUSTED: Any = object()
"""What is drawn from the end of the source on."""


class ItemSource:
    """Draws from ``items``.

    ``draw()`` gives the next item, to be awaited where ``awaited`` is true: `EXHAUSTED` from the end or the
    first error on, which is kept as ``error``, and once ``over`` was set. `aclose` comes when all who draw
    have ended.
    """

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.awaited: bool = isinstance(items, AsyncIterable)
        self.over = False
        self.error: Exception | None = None
        self.draw: Callable[[], Any]
        self._close: Callable[[], object] | None = None
        if isinstance(items, AsyncIterable):
            async_iterator = aiter(items)
            self.draw = self._drawing_async(async_iterator.__anext__)
            if isinstance(async_iterator, AsyncGenerator) or async_iterator is not items:
                self._close = getattr(async_iterator, "aclose", None)
        else:
            iterator = iter(items)
            self.draw = self._drawing(iterator.__next__)
            # An iterator that the caller made is the caller's to close, as a file is. A generator's code has
            # nobody else who could end it.
            if isinstance(iterator, Generator) or iterator is not items:
                self._close = getattr(iterator, "close", None)

    def _drawing(self, advance: Callable[[], Any]) -> Callable[[], Any]:
        def draw() -> Any:
            if self.over:
                return EXHAUSTED
            try:
                return advance()
            except StopIteration:
                self.over = True
            except Exception as error:
                self.over, self.error = True, error
            return EXHAUSTED

        return draw

    def _drawing_async(self, advance: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        lock = anyio.Lock(fast_acquire=True)

        async def draw() -> Any:
            # One at a time: an async generator cannot be advanced by two tasks at once.
            async with lock:
                if self.over:
                    return EXHAUSTED
                try:
                    return await advance()
                except StopAsyncIteration:
                    self.over = True
                except Exception as error:
                    self.over, self.error = True, error
                return EXHAUSTED

        return draw

    async def aclose(self) -> None:
        """Close the source where it is a generator, or an iterator that was made here.

        Raises what its own code raises when it is closed.
        """
        close, self._close = self._close, None
        if close is not None:
            closed = close()
            if self.awaited and isinstance(closed, Awaitable):
                await closed
