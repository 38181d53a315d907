"""A streamed answer as a caller reads it: chunk by chunk, finished exactly once."""

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

_IN_A_ROW = 16
"""Pieces that are handed out before the event loop gets a turn."""


async def _reader_of_whole(reply: Reply) -> ChunkReader:
    """For a reply that comes from a policy."""
    reader = ChunkReader(reply)
    await reader.whole(math.inf)
    return reader


class Stream:
    """An async context manager and iterator over the pieces of one answer; see `Client.stream`."""

    def __init__(self, begin: AbstractAsyncContextManager[tuple[Call, Reply]]) -> None:
        self._begin = begin
        self._entered = False
        self._reply: Reply | None = None
        self._ended = False
        self._complete = False
        self._in_a_row = 0

    def __repr__(self) -> str:
        reply = self._reply
        if reply is None:
            return f"<Stream {'waiting for its first piece' if self._entered else 'not entered yet'}>"
        came = f"{self._reader.accumulator.text_length} characters"
        if not self._ended:
            state = f"open, {came} so far"
        else:
            state = f"{'complete' if self._complete else 'broken off'}, {came} in {reply.elapsed:.1f} s"
        return f"<Stream from {self._call.endpoint.name} {state}>"

    @uninterrupted
    async def __aenter__(self) -> Self:
        if self._entered:
            raise ClientStateError("a stream is entered once; call client.stream again for another")
        self._entered = True
        self._call, reply = await self._begin.__aenter__()
        try:
            self._reader: ChunkReader = reply._reader or await _reader_of_whole(reply)
        except BaseException as error:  # what a policy gave is no answer: the block does not begin
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
            # Leaving early is no failure, whatever the block's own error; nor is being cancelled.
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
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW:
                self._in_a_row = 0
                await checkpoint()
        else:
            self._in_a_row = 0
            if self._ended:
                raise StopAsyncIteration
            if not reader.done:
                await self._read_on()
            if not reader.ready:
                self._finish(StreamResult(complete=True))
                raise StopAsyncIteration
        return reader.ready.popleft()

    @uninterrupted
    async def _read_on(self) -> None:
        call = self._call
        stall = call.timeout.stall
        deadline = math.inf if call.deadline is None else call.deadline
        until = math.inf if stall is None else anyio.current_time() + stall
        try:
            await self._reader.more(min(until, deadline))
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
        """Once: complete the reply, and let the policies do what they have to do at the end."""
        if self._ended:
            return
        self._ended, self._complete = True, result.complete
        self._reader.complete_reply(self._call)
        self._call.end(result)

    @property
    def reply(self) -> Reply:
        """The whole answer; raises `ClientStateError` where not all of it was read."""
        if not self._complete:
            raise ClientStateError(
                "the stream was not read to its end, so there is no reply; stream.partial is what came"
            )
        return self.partial

    @property
    def partial(self) -> Reply:
        """What has come so far; its usage is None until the end, and its text may stop anywhere."""
        reply = self._reply
        if reply is None:
            raise ClientStateError("enter the stream first: async with client.stream(…) as stream")
        if not self._ended:
            body: Any = self._reader.accumulator.body()
            return attrs.evolve(reply, content=reply.content or msgspec.json.encode(body), stream=None)
        return reply
