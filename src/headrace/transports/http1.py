"""HTTP/1.1 without I/O: requests to bytes, bytes to answers; llhttp (httptools) does the parsing.

llhttp refuses what smuggles: two content-lengths, a length with chunks, malformed chunks, bare line feeds.
What it leaves to its user is decided here: which answers end with the connection, interim (1xx) answers,
sizes, and bytes that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools

from headrace.endpoints import FRAMING, Endpoint, unsendable
from headrace.errors import CallError, IncompleteReply, ProtocolError, ReplyTooLarge, RequestError
from headrace.model import Request
from headrace.reply import Headers, shown
from headrace.transports.encodings import decompressed

MAX_HEAD_BYTES = 256 * 1024
"""Status line and headers of one answer; the largest seen of real endpoints are below 16 KiB."""

_HEAD_CACHE = 256
_ENCODINGS = b"\r\nAccept-Encoding: gzip, deflate\r\n"
_KNOWN_INTERIM = frozenset({100, 102, 103})
"""To llhttp; that of others it takes to have bodies. Early hints (103) may say the length to come."""

_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?i)\btimeout\s*=\s*(\d{1,9})\b")
_ON_THE_WAY = 1.0
"""Seconds before a server's idle timeout in which a request might cross with its close."""


class RequestWriter:
    """Writes the requests to one endpoint; the head of a method and path is built once.

    Raises `RequestError` for a request's headers that HTTP cannot carry, or that are headrace's own to set.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.base_url)
        self._base = parts.path
        lines = {"Host": parts.netloc}
        lines |= endpoint.credentials()
        lines |= {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
        from importlib.metadata import version  # not with the module: see headrace.pipeline

        lines["User-Agent"] = f"headrace/{version('headrace')}"
        self._common = _merged(lines, endpoint.headers)
        self._heads: dict[tuple[str, str, Any], tuple[bytes, bytes]] = {}

    def write_streamed(self, request: Request, content: bytes) -> bytes:
        """The bytes of a request for a stream, in no encoding: an event must not wait in a compressor."""
        return self.write(request, content).replace(_ENCODINGS, b"\r\nAccept-Encoding: identity\r\n", 1)

    def write(self, request: Request, content: bytes) -> bytes:
        """The bytes of one request; ``content`` is its JSON body, empty for none."""
        key = request.method, request.path, request.headers
        head, content_type = self._heads.get(key) or self._head(*key)
        if content:
            return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, content_type, len(content), content)
        return head + (b"\r\n" if request.method in {"GET", "HEAD"} else b"Content-Length: 0\r\n\r\n")

    def _head(self, method: str, path: str, headers: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
        wrong = unsendable(dict(headers), FRAMING)
        if wrong:
            raise RequestError(wrong)
        lines = _merged(self._common, dict(headers))
        named = {name.lower() for name in lines}
        text = f"{method} {self._base}{path} HTTP/1.1\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        content_type = b"" if "content-type" in named else b"Content-Type: application/json\r\n"
        if len(self._heads) == _HEAD_CACHE:  # paths and headers may hold ids, without end
            self._heads.clear()
        self._heads[method, path, headers] = written = text.encode("latin-1"), content_type
        return written


def _idle_seconds(keep_alive: bytes) -> float | None:
    """How long a server that sends ``timeout=5, max=100`` lets a connection be idle, less the way there."""
    found = _KEEP_ALIVE_TIMEOUT.search(keep_alive)
    return max(0.0, int(found[1]) - _ON_THE_WAY) if found else None


def _merged(lines: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """``lines`` less those that ``others`` have, too, and these."""
    named = {name.lower() for name in others}
    return {name: value for name, value in lines.items() if name.lower() not in named} | dict(others)


class ReplyParser:
    """Parses the answers that come over one connection, one after the other.

    Call `begin`, then `feed` with what is received until it returns True, or `finish` when the other side
    closes. Then ``status``, ``headers`` and `content` are the answer's, and ``reusable`` says whether the
    connection may carry another request. While ``by_pieces`` is set, `feed` returns True as soon as the head
    is complete, and from then on whenever there may be something to `take`. ``limit`` is the most bytes that
    the answer may have.
    """

    __slots__ = (
        "_beside_body",
        "_bodiless",
        "_body",
        "_encoded",
        "_error",
        "_framed",
        "_head_bytes",
        "_in_head",
        "_max_bytes",
        "_parser",
        "_size",
        "by_pieces",
        "complete",
        "headers",
        "keep_alive",
        "limit",
        "reusable",
        "status",
    )

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self.begin("POST")

    def begin(self, method: str) -> None:
        """Expect the answer to a request of this method."""
        self._bodiless = method == "HEAD"
        self._head_bytes = 0
        self._error: CallError | None = None
        self.by_pieces = False
        self.limit: float = self._max_bytes
        self.complete = False
        self.reusable = False
        self._begin_head()

    def _begin_head(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._size = 0
        self._beside_body = 0
        self._in_head = True
        self._framed = False
        self._encoded = False
        self.keep_alive: float | None = None

    def feed(self, data: bytes) -> bool:
        """Take bytes; True once the answer is complete. Raises `ProtocolError` or `ReplyTooLarge`."""
        if self._in_head:
            self._head_bytes += len(data)
        size = self._size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("the endpoint switches to another protocol, which nobody asked for") from None
        except httptools.HttpParserError as error:
            if not self.complete:
                # Of one line, so that an endpoint that echoes requests does not bring the key in here.
                seen = shown(data.partition(b"\r\n")[0], 80)
                raise ProtocolError(f"the answer breaks HTTP: {error}: {seen}") from error
            # A whole answer, then rubbish: the answer stands, the connection does not.
            self.reusable = False
        if self._error is not None:
            raise self._error
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            raise ReplyTooLarge(f"the answer's headers are over {MAX_HEAD_BYTES} bytes")
        if not self._in_head and not self.complete:
            # Chunk extensions and trailers: the parser collects them, and they need never end.
            self._beside_body = self._beside_body + len(data) if self._size == size else 0
            if self._beside_body > MAX_HEAD_BYTES:
                raise ReplyTooLarge(
                    f"the answer's chunk extensions or trailers are over {MAX_HEAD_BYTES} bytes"
                )
        return self.complete or (self.by_pieces and not self._in_head and self.status >= 200)

    def take(self) -> bytes:
        """What has come of the body since; raises `ProtocolError` for one that is encoded."""
        if self._encoded and self._body:
            raise ProtocolError("the answer is a stream in an encoding that was not asked for")
        taken, self._body = bytes(self._body), b""
        return taken

    def finish(self) -> None:
        """The other side closed; raises `IncompleteReply` where the answer has not ended."""
        if self.complete:
            return
        if self._in_head or self._framed:
            where = "in its headers" if self._in_head else f"after {self._size} bytes of its body"
            raise IncompleteReply(f"the connection closed before the answer was complete, {where}")
        self.complete = True

    @property
    def started(self) -> bool:
        """True once a byte of the answer has come."""
        return self._head_bytes > 0

    def content(self) -> bytes:
        """The body, decompressed; raises `ReplyTooLarge`, `IncompleteReply` or `ProtocolError`."""
        content = bytes(self._body)
        if self._encoded and content:
            return decompressed(content, Headers(self.headers)["content-encoding"], self._max_bytes)
        return content

    # What llhttp calls. An exception raised in here would come out wrapped, so errors are kept for feed.

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head or self.complete:
            return  # trailers say nothing about a call
        self.headers.append((name, value.rstrip(b" \t")))  # llhttp takes off what is before it only
        length = len(name)
        if length == 14:
            if name.lower() == b"content-length":
                self._framed = True
                if int(value) > self.limit and not self._bodiless:
                    self._too_large()
        elif length == 17:
            if name.lower() == b"transfer-encoding":
                # Just as llhttp reads it, which takes anything else, so a tab at the end, for no chunks.
                if self._framed or value.rstrip(b" ").lower() != b"chunked":
                    self._error = ProtocolError(f"transfer-encoding {value!r} is not supported")
                self._framed = True
        elif length == 16:
            if name.lower() == b"content-encoding":
                self._encoded = True
        elif length == 10 and name.lower() == b"keep-alive":
            self.keep_alive = _idle_seconds(value)

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        self._in_head = False
        if self.status < 100:
            self._error = ProtocolError(f"the answer's status is {self.status:03}, which is none")
        elif self.status < 200 and self._framed and self.status not in _KNOWN_INTERIM:
            # It has none, whatever it says (RFC 9112, 6.3), but llhttp would take the answer for its body.
            self._error = ProtocolError(f"an interim answer ({self.status}) says that it has a body")
        if self._bodiless and self.status >= 200:
            # llhttp would wait for the body that the headers describe.
            self.complete = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return
        self._size += len(data)
        if self._size > self.limit:
            self._too_large()
        elif not self._body:
            self._body = data
        else:
            # One buffer: a list of pieces of two bytes each would take twenty times their size.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:
            self._begin_head()
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    def _too_large(self) -> None:
        self._error = ReplyTooLarge(f"the answer is over max_response_bytes={self._max_bytes}")
