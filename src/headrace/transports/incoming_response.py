"""A response while it arrives, for all versions of HTTP. Its size is limited, its encodings are decoded."""

from __future__ import annotations

from headrace.errors import CallError, ReplyTooLarge
from headrace.replies import Headers
from headrace.transports.content_encoding import Decoder, decode_body

MAX_HEAD_BYTES = 256 * 1024
"""Limit for the status line and headers of a response. Those of real endpoints are below 16 KiB."""


class IncomingResponse:
    """The status, headers and body that have arrived so far.

    While ``streaming`` is set, the waiting task is woken for each part of the body, and may call `take_body`.
    While ``unbounded`` is set, the whole body may have any size. A subclass sets ``complete``.
    """

    __slots__ = (
        "_body",
        "_decoder",
        "_encoded",
        "_error",
        "_limit",
        "_size",
        "complete",
        "headers",
        "status",
        "streaming",
        "unbounded",
    )

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._error: CallError | None = None
        self._decoder: Decoder | None = None
        self.streaming: bool = False
        self.unbounded: bool = False
        self.complete: bool = False
        self.status: int = 0
        self._encoded = False
        self._size = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""

    def reset(self) -> None:
        """Prepare for another response."""
        self._error = self._decoder = None
        self.streaming = self.unbounded = self.complete = False
        self.reset_head()

    def reset_head(self) -> None:
        """Prepare for another head of the same response; the last one was interim (1xx)."""
        self.status = self._size = 0
        self.headers = []
        self._body = b""
        self._encoded = False

    @property
    def has_head(self) -> bool:
        """Whether status and headers have arrived."""
        return self.status >= 200

    @property
    def is_error(self) -> bool:
        """Whether a head with a status other than 2xx has arrived."""
        return self.has_head and not 200 <= self.status < 300

    def add_body(self, data: bytes) -> None:
        """Add a part of the body. Sets `_error` if the body is too large."""
        self._size += len(data)
        if self._size > self._limit and not self.unbounded:
            self._set_too_large()
        elif not self._body:
            self._body = data
        else:
            # One buffer: a list of two-byte parts would take twenty times their size.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data

    def take_body(self) -> bytes:
        """The decoded part of the body since the last call. Raises the errors of `content`."""
        taken, self._body = bytes(self._body), b""
        if self._encoded:
            if self._decoder is None:
                encodings = Headers(self.headers)["content-encoding"]
                self._decoder = Decoder(encodings, self._limit, unbounded=self.unbounded)
            taken = self._decoder.feed(taken)
            if not taken and self.complete:
                self._decoder.finish()
        return taken

    def content(self) -> bytes:
        """The decoded body. Raises `ReplyTooLarge`, `IncompleteReply` or `ProtocolError`."""
        content = bytes(self._body)
        if self._encoded and content:
            return decode_body(content, Headers(self.headers)["content-encoding"], self._limit)
        return content

    def _set_too_large(self) -> None:
        self._error = ReplyTooLarge(f"the response is over max_response_bytes={self._limit}")
