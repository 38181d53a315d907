"""Transports: each makes one attempt over the wire and knows nothing of policies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from headrace.calls import Call
from headrace.replies import Reply

__all__ = ["Transport"]


@runtime_checkable
class Transport(Protocol):
    """Makes attempts.

    ``send`` makes one: it sends the call's request to the call's endpoint within the call's timeouts and
    deadline, and returns the answer whatever its status. It raises `ConnectError`, `CallTimeout`,
    `ProtocolError` or `ReplyTooLarge` (or a subclass), never a foreign exception, and may be cancelled at
    any await without harm to attempts that follow. For a call that is ``streamed`` it may return a success as
    soon as its headers are there, with a `Body` as the reply's ``stream``, or else its ``content`` whole.
    Such a body may have any size where the call is ``unbounded`` as well. ``aclose`` drops all connections.
    """

    async def send(self, call: Call, /) -> Reply: ...
    async def aclose(self) -> None: ...
