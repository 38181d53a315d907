"""Streams and maps for code without async: iterators over those of a client in another thread."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Awaitable, Callable, Generator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from typing import Any, Generic, Self, TypeVar

from anyio.from_thread import BlockingPortal

from headrace._support.event_loop_thread import call_in_loop, entered
from headrace.calls import Outcome, R_co
from headrace.client.map import OutcomeStream
from headrace.client.stream import Stream as AsyncStream
from headrace.errors import ClientStateError
from headrace.replies import Reply
from headrace.wire.stream_accumulator import Chunk

T = TypeVar("T")


def wait_for(portal: BlockingPortal, function: Callable[[], Awaitable[T]]) -> T:
    """Wait for a function of a client in the event loop; an interrupt of the wait cancels it."""
    try:
        return call_in_loop(portal, function)
    except CancelledError:
        raise ClientStateError("this client was closed during the call") from None


class OutcomeIterator(Generic[R_co]):
    """The outcomes of a map: an iterator, and a context manager whose end cancels the remaining calls."""

    def __init__(self, outcomes: Generator[Outcome[R_co], None, None]) -> None:
        self._outcomes = outcomes

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome[R_co]:
        return next(self._outcomes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the remaining calls."""
        self._outcomes.close()


def outcomes_of(
    open_portal: Callable[[], BlockingPortal], stream: OutcomeStream[Any], *, one_by_one: bool
) -> Generator[Outcome[Any], None, None]:
    """Yield the outcomes of a stream.

    Args:
        open_portal: Returns the portal of the client; raises `ClientStateError` if the client is closed.
        stream: The stream.
        one_by_one: Take single outcomes. A batch takes one switch of threads, but is not part of the buffer.
    """
    with entered(open_portal(), stream):
        take = functools.partial(_next, stream) if one_by_one else stream.batch
        while outcomes := wait_for(open_portal(), take):
            yield from outcomes


class Stream:
    """The chunks of one answer: a context manager and iterator; see `Client.stream`."""

    def __init__(self, open_portal: Callable[[], BlockingPortal], stream: AsyncStream) -> None:
        self._open_portal = open_portal
        self._stream = stream
        self._block = ExitStack()

    def __enter__(self) -> Self:
        self._block.enter_context(entered(self._open_portal(), self._stream))
        return self

    def __exit__(self, *error: object) -> None:
        self._block.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        chunks = wait_for(self._open_portal(), functools.partial(_next, self._stream))
        if not chunks:
            raise StopIteration
        return chunks[0]

    @property
    def reply(self) -> Reply:
        """The complete reply; raises `ClientStateError` before the end of the stream."""
        return self._stream.reply

    @property
    def partial(self) -> Reply:
        """The reply so far; raises `ClientStateError` if the stream was not entered."""
        return self._stream.partial


async def _next(iterator: AsyncIterable[T]) -> list[T]:
    """The next item in a list, which is empty at the end: a future cannot hold StopAsyncIteration."""
    async for item in iterator:
        return [item]
    return []
