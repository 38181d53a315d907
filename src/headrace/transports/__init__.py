"""Transports: each makes one attempt over the network and knows nothing about policies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from headrace.calls import Call
from headrace.replies import Reply

__all__ = ["Transport"]


@runtime_checkable
class Transport(Protocol):
    """Makes attempts.

    ``send`` makes one attempt: it sends the call's request to the call's endpoint, within the call's timeouts
    and deadline, and returns the reply with any status. It raises `ConnectError`, `CallTimeout`,
    `ProtocolError` or `ReplyTooLarge` (or a subclass), never a foreign exception. It may be cancelled at any
    await without harm to later attempts.

    For a ``streamed`` call it may return a success as soon as the headers have arrived, with a `Body` as the
    reply's ``stream``; otherwise it returns the whole ``content``. If the call is also ``unbounded``, such a
    body may have any size. ``aclose`` closes all connections.
    """

    async def send(self, call: Call, /) -> Reply: ...
    async def aclose(self) -> None: ...
