"""Reads a streamed response chunk by chunk.

The pipeline returns the reply of a streamed call when its first chunk is there. Until then policies may
retry; afterwards nothing is sent again. A policy uses `Call.add_done_callback` to act at the end.
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

_DONE_GRACE = 0.02
"""Seconds after ``[DONE]`` in which the response must end, so that the connection can be used again."""

_USAGE_GRACE = 2.0
"""Seconds to wait for token counts and ``[DONE]`` after the finish reason."""

_INCLUDE_USAGE = {"include_usage": True}


def streamed_request(request: Request) -> Request:
    """The request with ``stream`` set, and ``include_usage`` unless its ``stream_options`` set it."""
    body = dict(request.body or {})
    options = body.get("stream_options")
    body["stream_options"] = (
        _INCLUDE_USAGE | dict(options) if isinstance(options, Mapping) else _INCLUDE_USAGE
    )
    return attrs.evolve(request, body=body | {"stream": True})


def stop_asking_for_usage(call: Call) -> bool:
    """Remove the ``stream_options`` that `streamed_request` set; returns False if it did not set them."""
    body = dict(call.request.body or {})
    if body.pop("stream_options", None) != _INCLUDE_USAGE:
        return False
    call.request = attrs.evolve(call.request, body=body)
    call.content = encode_body(body)
    return True


class ChunkReader:
    """Reads the chunks of a successful reply.

    The first bytes decide whether the body is a stream of events or a whole answer, because some endpoints
    declare the wrong content type.
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

    async def read_more(self, until: float) -> None:
        """Wait for a chunk or the end; raises `CallError`.

        A ``failure`` that was received together with chunks is raised after these.
        """
        if self._events is None:
            first = await self._first_bytes(until)
            if not _is_event_stream(self._reply, first):
                await self.read_whole(until, first)
                return
            self._events = EventParser()
            self._take(self._events.feed(first))
        while not self.ready and not self.done and self.failure is None:
            if self.accumulator.finished:
                until = min(until, anyio.current_time() + _USAGE_GRACE)
            try:
                data = await self._receive(until)
            except CallTimeout:
                if not self.accumulator.finished:
                    raise
                data = b""  # only [DONE] is missing
            if data:
                self._take(self._events.feed(data))
            else:
                self._end(self._events)
        if self.failure is not None and not self.ready:
            raise self.failure

    async def _first_bytes(self, until: float) -> bytes:
        """Enough bytes to identify the kind of body; empty for an empty body."""
        first = b""
        while may_become_events(first) and (data := await self._receive(until)):
            first += data
        return first

    async def _receive(self, until: float) -> bytes:
        """The next bytes of the body; empty at its end."""
        if self._body is None:
            data, self._reply.content = self._reply.content, b""
        else:
            data = await self._body.receive(until)
        self._size += len(data)
        if self._size > self._max_bytes:
            raise ReplyTooLarge(f"the response is larger than max_response_bytes={self._max_bytes}; raise it")
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
        """Handle the end of the body: with a finish reason the answer is complete."""
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

    async def read_whole(self, until: float, first: bytes = b"") -> None:
        """Read a body that is not a stream as one chunk: from a cache, or an endpoint without streams."""
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
        """Set the body, usage, model and elapsed time of the reply from the chunks."""
        reply, accumulator = self._reply, self.accumulator
        reply.elapsed = anyio.current_time() - call.started
        if not reply.content:
            reply.content = msgspec.json.encode(accumulator.body())
        reply.usage, reply.model = accumulator.usage, accumulator.model
        reply.service_tier = accumulator.service_tier
        reply.stream = reply._reader = None

    async def aclose(self) -> None:
        """Release the connection if the response is over; close it otherwise."""
        if self._body is None:
            return
        with anyio.CancelScope(shield=True):  # for at most _DONE_GRACE
            if self.done:
                with suppress(CallError):
                    await self._body.receive(anyio.current_time() + _DONE_GRACE)
            await self._body.aclose()


def _is_cut(data: bytes) -> bool:
    """Whether the last event is cut off by the end of the body."""
    try:
        decode_json(data)
    except NOT_JSON:
        return data.lstrip()[:1] in {b"{", b"["}
    return False


def _is_event_stream(reply: Reply, first: bytes) -> bool:
    """Whether the body is a stream of events, by its first bytes, or else by its content type."""
    if looks_like_events(first):
        return True
    declared = "event-stream" in reply.headers.get("content-type", "event-stream").lower()
    return declared and first.lstrip()[:1] not in {b"{", b"[", b"<", b'"'}


async def open_stream(call: Call, reply: Reply, max_bytes: float) -> Reply:
    """Wait for the first chunk of a reply; on a `CallError` the connection is closed."""
    reader = reply._reader = ChunkReader(reply, max_bytes)
    limit = call.timeout.total
    try:
        await reader.read_more(math.inf if limit is None else anyio.current_time() + limit)
        if reader.failure is not None:  # no chunk was passed on yet, so the attempt may be retried
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
    if reader.done and not reader.ready:  # no chunk follows; policies may read the reason
        reply.content = msgspec.json.encode(reader.accumulator.body())
        reply.usage, reply.model = reader.accumulator.usage, reader.accumulator.model
    return reply
