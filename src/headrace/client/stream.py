"""A streamed answer, read chunk by chunk."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import anyio
import attrs
import msgspec
from anyio.lowlevel import checkpoint

from headrace._support.interrupts import uninterrupted
from headrace.calls import Call, StreamResult
from headrace.errors import (
    CallError,
    CallTimeout,
    ClientStateError,
    DeadlineExceeded,
)
from headrace.pipeline.chunk_reader import ChunkReader
from headrace.replies import Reply
from headrace.wire.error_redaction import redact_error
from headrace.wire.stream_accumulator import Chunk

_CHUNKS_PER_TURN = 16
"""How many chunks are yielded before other tasks get a turn."""


async def _reader_of_complete(reply: Reply) -> ChunkReader:
    """A reader for a complete reply, from a policy such as a cache."""
    reader = ChunkReader(reply)
    await reader.read_whole(math.inf)
    return reader


class Stream:
    """The chunks of one answer: an async context manager and iterator; see `Client.stream`."""

    def __init__(self, begin: AbstractAsyncContextManager[tuple[Call, Reply]]) -> None:
        self._begin = begin
        self._entered = False
        self._reply: Reply | None = None
        self._ended = False
        self._complete = False
        self._yielded_in_turn = 0

    def __repr__(self) -> str:
        reply = self._reply
        if reply is None:
            return f"<Stream {'waiting for its first chunk' if self._entered else 'not entered yet'}>"
        received = f"{self._reader.accumulator.text_length} characters"
        if not self._ended:
            state = f"open, {received} so far"
        else:
            state = f"{'complete' if self._complete else 'broken off'}, {received} in {reply.elapsed:.1f} s"
        return f"<Stream from {self._call.endpoint.name} {state}>"

    @uninterrupted
    async def __aenter__(self) -> Self:
        if self._entered:
            raise ClientStateError("a stream can be entered only once; call client.stream again")
        self._entered = True
        self._call, reply = await self._begin.__aenter__()
        try:
            self._reader: ChunkReader = reply._reader or await _reader_of_complete(reply)
        except BaseException as error:  # the reply of a policy is not valid
            self._call.end(StreamResult(error=error))
            await self._begin.__aexit__(None, None, None)
            raise
        reply.time_to_first_token = reply.elapsed
        self._reply = reply
        return self

    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # Leaving the block early is not a failure of the call, even with an error.
            self._finish(StreamResult(error=None if isinstance(error, Exception) else error))
            await self._reader.aclose()
        finally:
            await self._begin.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._reply is None:
            raise ClientStateError("enter the stream first: async with client.stream(…) as stream")
        reader = self._reader
        if reader.ready:
            self._yielded_in_turn += 1
            if self._yielded_in_turn == _CHUNKS_PER_TURN:
                self._yielded_in_turn = 0
                await checkpoint()
        else:
            self._yielded_in_turn = 0
            if self._ended:
                raise StopAsyncIteration
            if not reader.done:
                await self._read_more()
            if not reader.ready:
                self._finish(StreamResult(complete=True))
                raise StopAsyncIteration
        return reader.ready.popleft()

    @uninterrupted
    async def _read_more(self) -> None:
        call = self._call
        stall = call.timeout.stall
        deadline = math.inf if call.deadline is None else call.deadline
        until = math.inf if stall is None else anyio.current_time() + stall
        try:
            await self._reader.read_more(min(until, deadline))
        except CallError as error:
            failure = error
            if isinstance(error, CallTimeout) and deadline <= until:
                failure = DeadlineExceeded(
                    f"no complete answer within the request's deadline of {call.request.deadline:g} s",
                    "deadline",
                )
            failure.request, failure.attempts, failure.partial = call.request, call.attempts, self.partial
            for each in (error, failure):
                redact_error(each, call.endpoint)
            self._finish(StreamResult(error=failure))
            raise failure from (None if failure is not error else error.__cause__)
        except BaseException as error:
            self._finish(StreamResult(error=error))
            raise

    def _finish(self, result: StreamResult) -> None:
        """Complete the reply and call the callbacks of policies; only the first call has an effect."""
        if self._ended:
            return
        self._ended, self._complete = True, result.complete
        self._reader.complete_reply(self._call)
        self._call.end(result)

    @property
    def reply(self) -> Reply:
        """The complete reply, with usage, cost and the time to the first token.

        Raises:
            ClientStateError: The stream was not read to its end.
        """
        if not self._complete:
            raise ClientStateError(
                "the stream was not read to its end, so there is no reply; use stream.partial"
            )
        return self.partial

    @property
    def partial(self) -> Reply:
        """The reply so far; its usage is None until the end.

        Raises:
            ClientStateError: The stream was not entered.
        """
        reply = self._reply
        if reply is None:
            raise ClientStateError("enter the stream first: async with client.stream(…) as stream")
        if not self._ended:
            body: Any = self._reader.accumulator.body()
            return attrs.evolve(reply, content=reply.content or msgspec.json.encode(body), stream=None)
        return reply
