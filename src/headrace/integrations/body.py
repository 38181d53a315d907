"""A streamed answer on its way through: its bytes as they come, its token counts read in passing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import anyio
import msgspec

from headrace.errors import CallError
from headrace.json_reading import NOT_JSON
from headrace.model import Call, Ending
from headrace.reply import Body, Reply
from headrace.sse import EventParser
from headrace.usage import UsageFields


class _Part(msgspec.Struct):
    model: str | None = None
    usage: UsageFields | None = None


class _Event(_Part):
    """Where an event of the chat, messages and responses APIs has its usage."""

    message: _Part | None = None
    response: _Part | None = None


_read = msgspec.json.Decoder(_Event).decode


class PassedBody:
    """The body of a streamed reply, handed on unchanged.

    When it is over, for whatever reason, policies are told so once.
    """

    def __init__(self, call: Call, reply: Reply, body: Body) -> None:
        self._call = call
        self._reply = reply
        self._body = body
        self._events: EventParser | None = None
        if "event-stream" in reply.headers.get("content-type", ""):
            self._events = EventParser()
        self._first = b""
        self._ended = False
        self._counts = UsageFields()
        self._on_end: Callable[[], None] = lambda: None

    @classmethod
    async def begin(cls, call: Call, reply: Reply, body: Body) -> Self:
        """Wait for the first bytes: until then a retry costs nobody anything."""
        passed = cls(call, reply, body)
        try:
            passed._first = await body.receive(passed._limit(call.timeout.read))
            passed._look_for_usage(passed._first)
        except BaseException:
            await body.aclose()
            raise
        return passed

    def on_end(self, do: Callable[[], None]) -> None:
        """What is to be done when it is over."""
        self._on_end = do

    async def receive(self, until: float) -> bytes:
        """See `Body.receive`; policies are told when it is over."""
        part, self._first = self._first, b""
        try:
            if not part and not self._ended:
                part = await self._body.receive(until)
                self._look_for_usage(part)
        except BaseException as error:
            self._end(Ending(error=error))
            raise
        if not part:
            self._end(Ending(complete=True))
        return part

    async def next(self) -> bytes:
        """The next bytes, empty at the end; raises `CallError` where none come for too long."""
        return await self.receive(self._limit(self._call.timeout.stall))

    def _limit(self, silence: float | None) -> float:
        return math.inf if silence is None else self._call.now() + silence

    def _look_for_usage(self, part: bytes) -> None:
        if self._events is None:
            return
        try:
            for _, data in self._events.feed(part):
                if b'"usage"' in data:
                    with suppress(*NOT_JSON):
                        event = _read(data)
                        for each in (event, event.message, event.response):
                            self._note(each)
        except CallError:
            self._events = None  # no events after all: nothing to be read in them

    def _note(self, part: _Part | None) -> None:
        if part is None:
            return
        self._reply.model = part.model or self._reply.model
        if part.usage is not None:
            # The messages API counts the prompt at the beginning, and the answer at the end.
            self._counts = self._counts.updated(part.usage)
            self._reply.usage = self._counts.public()

    async def aclose(self) -> None:
        """Be done with it; what was not read is left."""
        self._end(Ending())
        with anyio.CancelScope(shield=True):  # waits for nothing that takes long
            await self._body.aclose()

    def _end(self, ending: Ending) -> None:
        if self._ended:
            return
        self._ended = True
        self._reply.elapsed = self._call.now() - self._call.started
        self._reply.attempts = self._call.attempts
        try:
            self._call.end(ending)
        finally:
            self._on_end()
