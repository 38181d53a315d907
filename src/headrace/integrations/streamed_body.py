"""A streamed answer on its way through: its bytes as they come, its token counts read in passing."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Self

import anyio

from headrace.calls import Call, StreamResult
from headrace.errors import CallError
from headrace.integrations.usage_counter import PassingCounter
from headrace.replies import Body, Reply

_LAST_WORD = 0.02
"""Seconds that a connection gets after ``[DONE]`` to end its answer, so that it can be used again."""


class PassedBody:
    """The body of a streamed reply, handed on unchanged.

    When it is over, for whatever reason, policies are told so once.
    """

    def __init__(self, call: Call, reply: Reply, body: Body, max_kept: int) -> None:
        self._call = call
        self._reply = reply
        self._body = body
        self._counter = PassingCounter(reply, max_kept)
        self._first = b""
        self._ended = False

    @classmethod
    async def begin(cls, call: Call, reply: Reply, body: Body, max_kept: int) -> Self:
        """Wait for the first bytes: until then a retry costs nobody anything.

        Of an answer in JSON at most ``max_kept`` bytes are kept to read its token counts.
        """
        passed = cls(call, reply, body, max_kept)
        try:
            passed._first = await body.receive(passed._limit(call.timeout.read))
        except BaseException:
            await body.aclose()
            raise
        passed._counter.feed(passed._first)
        return passed

    async def receive(self, until: float) -> bytes:
        """See `Body.receive`; policies are told when it is over."""
        part, self._first = self._first, b""
        if not part and not self._ended:
            try:
                part = await self._body.receive(until)
            except BaseException as error:
                self._end(StreamResult(error=error))
                await self._body.aclose()
                raise
            self._counter.feed(part)
        if not part:
            self._end(StreamResult(complete=True))
        return part

    async def next(self) -> bytes:
        """The next bytes, empty at the end; raises `CallError` where none come for too long."""
        return await self.receive(self._limit(self._call.timeout.stall))

    def _limit(self, silence: float | None) -> float:
        return math.inf if silence is None else self._call.now() + silence

    async def aclose(self) -> None:
        """Be done with it; what was not read is left."""
        all_said = self._counter.finished and not self._ended
        self._end(StreamResult())
        with anyio.CancelScope(shield=True):  # for at most the last word's time
            if all_said:
                with suppress(CallError):
                    await self._body.receive(self._call.now() + _LAST_WORD)
            await self._body.aclose()

    def _end(self, result: StreamResult) -> None:
        if self._ended:
            return
        self._ended = True
        if self._counter.finished:
            # The SDKs close a chat at its [DONE], before the end of the body.
            result = StreamResult(complete=True)
        self._reply.elapsed = self._call.now() - self._call.started
        self._reply.attempts = self._call.attempts
        self._counter.end(complete=result.complete)
        self._call.end(result)
