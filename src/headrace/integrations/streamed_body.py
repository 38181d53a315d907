"""Passes a streamed response through, and reads its token counts on the way."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Self

import anyio

from headrace.calls import Call, StreamResult
from headrace.errors import CallError
from headrace.integrations.usage_counter import UsageCounter
from headrace.replies import Body, Reply

_END_TIMEOUT = 0.02
"""Seconds to wait after ``[DONE]`` for the end of a response, so that its connection can be reused."""


class PassthroughBody:
    """The body of a streamed reply, passed on unchanged.

    The call ends exactly once: at the end of the body, at an error, or when it is closed.
    """

    def __init__(self, call: Call, reply: Reply, body: Body, max_kept: int) -> None:
        self._call = call
        self._reply = reply
        self._body = body
        self._counter = UsageCounter(reply, max_kept)
        self._first = b""
        self._ended = False

    @classmethod
    async def begin(cls, call: Call, reply: Reply, body: Body, max_kept: int) -> Self:
        """Wait for the first bytes, because a retry is harmless until then.

        Of a JSON response at most ``max_kept`` bytes are kept, to read its token counts.
        """
        passthrough = cls(call, reply, body, max_kept)
        try:
            passthrough._first = await body.receive(passthrough._limit(call.timeout.read))
        except BaseException:
            await body.aclose()
            raise
        passthrough._counter.feed(passthrough._first)
        return passthrough

    async def receive(self, until: float) -> bytes:
        """See `Body.receive`. At the end of the body the call ends."""
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
        """The next bytes, empty at the end. Raises `CallError` if none arrive for too long."""
        return await self.receive(self._limit(self._call.timeout.stall))

    def _limit(self, silence: float | None) -> float:
        return math.inf if silence is None else self._call.now() + silence

    async def aclose(self) -> None:
        """Close the body, also if it is not read to the end."""
        all_received = self._counter.finished and not self._ended
        self._end(StreamResult())
        with anyio.CancelScope(shield=True):  # for at most `_END_TIMEOUT`
            if all_received:
                with suppress(CallError):
                    await self._body.receive(self._call.now() + _END_TIMEOUT)
            await self._body.aclose()

    def _end(self, result: StreamResult) -> None:
        if self._ended:
            return
        self._ended = True
        if self._counter.finished:
            # The SDKs close a chat at [DONE], before the end of the body.
            result = StreamResult(complete=True)
        self._reply.elapsed = self._call.now() - self._call.started
        self._reply.attempts = self._call.attempts
        self._counter.end(complete=result.complete)
        self._call.end(result)
