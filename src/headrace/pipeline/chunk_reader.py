"""A streamed answer: read piece by piece, finished exactly once.

The pipeline gives a streamed call back once its first piece is there: until then a retry costs nobody
anything, after it nothing is sent again. A policy registers with `Call.add_done_callback` what it has to do
at the end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import anyio
import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.calls import Call, Request
from headrace.errors import (
    CallError,
    CallTimeout,
    IncompleteReply,
    InvalidReply,
    ReplyTooLarge,
)
from headrace.replies import Reply
from headrace.wire.reply_bodies import CHAT, read_reply_body
from headrace.wire.request_bodies import encode_body
from headrace.wire.sse import EventParser, looks_like_events, may_become_events
from headrace.wire.stream_accumulator import DONE, Chunk, StreamAccumulator, empty_stream_error

_LAST_WORD = 0.02
"""Seconds that a connection gets after ``[DONE]`` to end its answer, so that it can be used again."""

_USAGE_COMES = 2.0
"""Seconds that the token counts and ``[DONE]`` get after the finish reason; nothing else is missing then."""


_USAGE_ASKED = {"include_usage": True}


def streamed_request(request: Request) -> Request:
    """The request, asking for a stream, and for the token counts at its end unless it says otherwise."""
    body = dict(request.body or {})
    options = body.get("stream_options")
    body["stream_options"] = _USAGE_ASKED | dict(options) if isinstance(options, Mapping) else _USAGE_ASKED
    return attrs.evolve(request, body=body | {"stream": True})


def stop_asking_for_usage(call: Call) -> bool:
    """Take out of a call what `streamed_request` put in for the token counts; False where it did not."""
    body = dict(call.request.body or {})
    if body.pop("stream_options", None) != _USAGE_ASKED:
        return False
    call.request = attrs.evolve(call.request, body=body)
    call.content = encode_body(body)
    return True


class ChunkReader:
    """Reads the pieces of a reply whose status is a success.

    What is an answer of events and what is a whole one is told by its first bytes: endpoints label either
    as the other.
    """

    def __init__(self, reply: Reply, max_bytes: float = math.inf) -> None:
        self._reply = reply
        self._body = reply.stream
        self._max_bytes = max_bytes
        self._size = 0
        self._events: EventParser | None = None
        self.accumulator: StreamAccumulator = StreamAccumulator()
        self.ready: deque[Chunk] = deque()
        self.done: bool = False
        self.failure: CallError | None = None

    async def more(self, until: float) -> None:
        """Wait for a piece, or the end; raises `CallError`.

        A ``failure`` that came together with pieces is raised after these.
        """
        if self._events is None:
            first = await self._first_bytes(until)
            if not _is_of_events(self._reply, first):
                await self.whole(until, first)
                return
            self._events = EventParser()
            self._take(self._events.feed(first))
        while not self.ready and not self.done and self.failure is None:
            if self.accumulator.finished:
                until = min(until, anyio.current_time() + _USAGE_COMES)
            try:
                data = await self._receive(until)
            except CallTimeout:
                if not self.accumulator.finished:
                    raise
                data = b""  # all was said but [DONE]
            if data:
                self._take(self._events.feed(data))
            else:
                self._end(self._events)
        if self.failure is not None and not self.ready:
            raise self.failure

    async def _first_bytes(self, until: float) -> bytes:
        """Enough of the body to tell what it is; empty where it is."""
        first = b""
        while may_become_events(first) and (data := await self._receive(until)):
            first += data
        return first

    async def _receive(self, until: float) -> bytes:
        """What comes next of the body, empty at its end."""
        if self._body is None:
            data, self._reply.content = self._reply.content, b""
        else:
            data = await self._body.receive(until)
        self._size += len(data)
        if self._size > self._max_bytes:
            raise ReplyTooLarge(f"the answer is over max_response_bytes={self._max_bytes}")
        return data

    def _take(self, events: list[tuple[bytes, bytes]]) -> None:
        for name, data in events:
            if data.strip() == DONE:
                self._finish()
                return
            try:
                self.ready += self.accumulator.add(data, named_error=name == b"error")
            except InvalidReply as error:
                self.failure = error
                return

    def _end(self, events: EventParser) -> None:
        """The body is over: an answer is complete if it said why it ended."""
        self._take([(name, data) for name, data in events.end() if not _is_cut(data)])
        if self.done:
            return
        if self.accumulator.finished:
            self._finish()
        elif self.failure is None and self.accumulator.stray_data:
            self.failure = empty_stream_error(self.accumulator)
        elif self.failure is None:
            self.failure = IncompleteReply("the stream ended before the answer was complete")

    def _finish(self) -> None:
        if self.accumulator.started:
            self.ready += self.accumulator.flush()
            self.done = True
        else:
            self.failure = empty_stream_error(self.accumulator)

    async def whole(self, until: float, first: bytes = b"") -> None:
        """Take as one piece what is not a stream: an endpoint's that has none, or a cache's."""
        received = bytearray(first)
        while data := await self._receive(until):
            received += data
        reply = self._reply
        reply.content = bytes(received)
        read_reply_body(reply, CHAT)
        self.accumulator.model, self.accumulator.usage = reply.model, reply.usage
        self.accumulator.service_tier = reply.service_tier
        self.ready.append(Chunk(reply.text, 0, reply.reasoning, reply.tool_calls))
        self.done = True

    def complete_reply(self, call: Call) -> None:
        """Give the reply the body, usage and model that the pieces make, and the time that they took."""
        reply, made = self._reply, self.accumulator
        reply.elapsed = anyio.current_time() - call.started
        if not reply.content:
            reply.content = msgspec.json.encode(made.body())
        reply.usage, reply.model, reply.service_tier = made.usage, made.model, made.service_tier
        reply.stream = reply._reader = None

    async def aclose(self) -> None:
        """Give the connection back where the answer is over, drop it where it is not."""
        if self._body is None:
            return
        with anyio.CancelScope(shield=True):  # for at most the last word's time
            if self.done:
                with suppress(CallError):
                    await self._body.receive(anyio.current_time() + _LAST_WORD)
            await self._body.aclose()


def _is_cut(data: bytes) -> bool:
    """True for a last event that the end of the body cuts."""
    try:
        decode_json(data)
    except NOT_JSON:
        return data.lstrip()[:1] in {b"{", b"["}
    return False


def _is_of_events(reply: Reply, first: bytes) -> bool:
    """Whether the body is events; where its first bytes do not show it, as it is declared."""
    if looks_like_events(first):
        return True
    declared = "event-stream" in reply.headers.get("content-type", "event-stream").lower()
    return declared and first.lstrip()[:1] not in {b"{", b"[", b"<", b'"'}


async def open_stream(call: Call, reply: Reply, max_bytes: float) -> Reply:
    """Wait for the first piece of an answer; raises `CallError`, the connection dropped."""
    reader = reply._reader = ChunkReader(reply, max_bytes)
    limit = call.timeout.total
    try:
        await reader.more(math.inf if limit is None else anyio.current_time() + limit)
        if reader.failure is not None:  # nobody has seen its pieces yet, so another attempt costs nothing
            raise reader.failure
    except CallError as error:
        if reader.accumulator.started:
            content = msgspec.json.encode(reader.accumulator.body())
            error.partial = attrs.evolve(reply, content=content, stream=None, usage=reader.accumulator.usage)
        await reader.aclose()
        raise
    except BaseException:
        await reader.aclose()
        raise
    if reader.done and not reader.ready:  # no piece will come: policies may look at why
        reply.content = msgspec.json.encode(reader.accumulator.body())
        reply.usage, reply.model = reader.accumulator.usage, reader.accumulator.model
    return reply
