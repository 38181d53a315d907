"""An answer on its way in: what is the same for all versions of HTTP. Sizes are bounded, encodings undone."""

from __future__ import annotations

from headrace.errors import CallError, ReplyTooLarge
from headrace.replies import Headers
from headrace.transports.content_encoding import Decoder, decompressed

MAX_HEAD_BYTES = 256 * 1024
"""Status line and headers of one answer; the largest seen of real endpoints are below 16 KiB."""


class IncomingAnswer:
    """The status, headers and body of an answer, as far as they have come.

    While ``by_pieces`` is set, the task that waits is woken for each piece, and may `take` it. While
    ``unbounded`` is set, what is taken may add up to any size. ``complete`` is set by a subclass.
    """

    __slots__ = (
        "_body",
        "_decoder",
        "_encoded",
        "_error",
        "_limit",
        "_size",
        "by_pieces",
        "complete",
        "headers",
        "status",
        "unbounded",
    )

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._error: CallError | None = None
        self._decoder: Decoder | None = None
        self.by_pieces = self.unbounded = self.complete = self._encoded = False
        self.status = self._size = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""

    def reset(self) -> None:
        """Expect another answer."""
        self._error = self._decoder = None
        self.by_pieces = self.unbounded = self.complete = False
        self.reset_head()

    def reset_head(self) -> None:
        """Expect another head of the same answer: the one before was interim."""
        self.status = self._size = 0
        self.headers = []
        self._body = b""
        self._encoded = False

    @property
    def has_head(self) -> bool:
        """True once status and headers have come."""
        return self.status >= 200

    @property
    def is_refusal(self) -> bool:
        """True once the head of an answer has come whose status is not 2xx."""
        return self.has_head and not 200 <= self.status < 300

    def add(self, data: bytes) -> None:
        """Take a part of the body; `_error` is set once it is too large."""
        self._size += len(data)
        if self._size > self._limit and not self.unbounded:
            self._too_large()
        elif not self._body:
            self._body = data
        else:
            # One buffer: a list of pieces of two bytes each would take twenty times their size.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data

    def take(self) -> bytes:
        """What has come of the body since, decoded; raises what `content` does."""
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
        """The body, decompressed; raises `ReplyTooLarge`, `IncompleteReply` or `ProtocolError`."""
        content = bytes(self._body)
        if self._encoded and content:
            return decompressed(content, Headers(self.headers)["content-encoding"], self._limit)
        return content

    def _too_large(self) -> None:
        self._error = ReplyTooLarge(f"the answer is over max_response_bytes={self._limit}")
