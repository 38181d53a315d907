"""A stream of an HTTP/2 connection: one request and its response."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.errors import ProtocolError, ReplyTooLarge
from headrace.transports.http2.protocol_engine import HTTP_1_1_REQUIRED, REFUSED_STREAM, error_name
from headrace.transports.incoming_response import IncomingResponse

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import Waiter


class RequestNotProcessed(Exception):
    """The server reports that it has not processed the request, so any request may be sent again."""


class Http1Required(RequestNotProcessed):
    """The server asks for HTTP/1.1 (RFC 9113, section 7)."""


class StreamLost(Exception):
    """The stream or the connection ended before the response was complete; the message describes how."""


class Http2Stream(IncomingResponse):
    """The received part of a response, and the waiter and deadline of the task that reads it.

    ``failure`` is the error after which no more arrives. ``unread`` counts the bytes that were not taken.
    """

    __slots__ = ("deadline", "failure", "id", "max_silence", "total_deadline", "unread", "waiter")

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.id: int = 0
        self.failure: Exception | None = None
        self.waiter: Waiter | None = None
        self.total_deadline: float = math.inf
        self.deadline: float = math.inf
        self.max_silence: float | None = None
        self.unread: int = 0

    def set_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head has arrived."""
        self.status: int = status
        self.headers: list[tuple[bytes, bytes]] = headers
        by_name = dict(headers)
        self._encoded = b"content-encoding" in by_name
        length = by_name.get(b"content-length")
        if length is not None and int(length) > self._limit and not self.unbounded:
            self._set_too_large()

    @property
    def too_large(self) -> ReplyTooLarge | None:
        """The error for a response over its size limit, or None."""
        return self._error if isinstance(self._error, ReplyTooLarge) else None


def stream_error(code: int, *, by_peer: bool, unsent: bool, response_started: bool) -> Exception:
    """The error for a stream that ended before its response was complete.

    Args:
        code: The error code (RFC 9113, section 7).
        by_peer: Whether the peer reset the stream.
        unsent: Whether the request was never sent.
        response_started: Whether the head of the response has arrived.
    """
    if not response_started:
        if code == HTTP_1_1_REQUIRED:
            return Http1Required("asks for HTTP/1.1")
        if code == REFUSED_STREAM or unsent:
            return RequestNotProcessed("refused the request, and has not processed it")
    if by_peer:
        return StreamLost(f"reset the request's stream ({error_name(code)})")
    return ProtocolError(f"the response violates HTTP/2 ({error_name(code)})")
