"""One request and its answer on a stream of an HTTP/2 connection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.errors import ProtocolError, ReplyTooLarge
from headrace.transports.http2.protocol_engine import HTTP_1_1_REQUIRED, REFUSED_STREAM, error_name
from headrace.transports.incoming_response import IncomingAnswer

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import Waiter


class Unprocessed(Exception):
    """The server says that it has not processed the request, so any request may be sent again."""


class WantsHttp1(Unprocessed):
    """It asks for HTTP/1.1 besides (RFC 9113, section 7)."""


class Lost(Exception):
    """The stream or the connection ended before the answer was complete; it says how."""


class Exchange(IncomingAnswer):
    """What has come of an answer, its waiter, and the limit of the wait.

    ``failure`` is why there will be no more of it. ``unread`` counts the bytes that came, and that `take` has
    not given out.
    """

    __slots__ = ("failure", "silence", "stream", "total", "unread", "until", "waiter")

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.stream = 0
        self.failure: Exception | None = None
        self.waiter: Waiter | None = None
        self.total = self.until = math.inf
        self.silence: float | None = None
        self.unread = 0

    def begin_answer(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head has come."""
        self.status, self.headers = status, headers
        by_name = dict(headers)
        self._encoded = b"content-encoding" in by_name
        length = by_name.get(b"content-length")
        if length is not None and int(length) > self._limit and not self.unbounded:
            self._too_large()

    @property
    def too_large(self) -> ReplyTooLarge | None:
        """The error for an answer over its limit."""
        return self._error if isinstance(self._error, ReplyTooLarge) else None


def stream_failure(code: int, *, by_peer: bool, unsent: bool, started: bool) -> Exception:
    """Why a stream that ended left its answer incomplete.

    Args:
        code: The error code (RFC 9113, section 7).
        by_peer: The other side reset the stream.
        unsent: The request never left.
        started: The answer has begun.
    """
    if not started:
        if code == HTTP_1_1_REQUIRED:
            return WantsHttp1("asks for HTTP/1.1")
        if code == REFUSED_STREAM or unsent:
            return Unprocessed("refused the request, and has not processed it")
    if by_peer:
        return Lost(f"reset the request's stream ({error_name(code)})")
    return ProtocolError(f"the answer breaks HTTP/2 ({error_name(code)})")
