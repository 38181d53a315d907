"""Answers of HTTP/1.1 without I/O: bytes to status, headers and body; llhttp (httptools) does the parsing.

llhttp refuses what smuggles: two content-lengths, a length with chunks, malformed chunks, bare line feeds.
What it leaves to its user is decided here: which answers end with the connection, interim (1xx) answers,
sizes, and bytes that nobody asked for.

A head that llhttp refuses is read a second time as `lenient_heads` rewrites it. Readers who differ about such
a head may differ about where the answer ends, so its connection carries no other call.
"""

from __future__ import annotations

import re

import httptools

from headrace._support.text import shown
from headrace.errors import IncompleteReply, ProtocolError, ReplyTooLarge
from headrace.transports.http1.keep_alive import idle_seconds
from headrace.transports.http1.lenient_heads import end_of_head, has_status_line, rewritten
from headrace.transports.incoming_response import MAX_HEAD_BYTES, IncomingAnswer

_LENGTHS_READ = frozenset({10, 14, 16, 17})
"""Of the names of headers that are read here."""

_KNOWN_INTERIM = frozenset({100, 102, 103})
"""To llhttp; that of others it takes to have bodies. Early hints (103) may say the length to come."""


class ReplyParser(IncomingAnswer):
    """Parses the answers that come over one connection, one after the other.

    Call `begin`, then `feed` with what is received until it returns True, or `finish` when the other side
    closes. Then ``status``, ``headers`` and `content` are the answer's, and ``reusable`` says whether the
    connection may carry another request. While ``by_pieces`` is set, `feed` returns True as soon as the head
    is complete, and from then on whenever there may be something to `take`.
    """

    __slots__ = (
        "_at_chunk",
        "_beside_body",
        "_bodiless",
        "_framed",
        "_head",
        "_head_bytes",
        "_in_head",
        "_last",
        "_parser",
        "_refusal",
        "keep_alive",
        "reusable",
    )

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._parser = self._new_parser()
        self.begin("POST")

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Blanks between a chunk's size and the end of its line: no reader takes them for anything else.
        parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        return parser

    def begin(self, method: str) -> None:
        """Expect the answer to a request of this method."""
        self._bodiless = method == "HEAD"
        self._head: bytes | bytearray = b""
        self._head_bytes = 0
        self._refusal: httptools.HttpParserError | None = None
        self._last = False
        self.reusable = False
        self.reset()

    def reset_head(self) -> None:
        """See `IncomingAnswer.reset_head`."""
        super().reset_head()
        self._at_chunk = -1
        self._beside_body = 0
        self._in_head = True
        self._framed = False
        self.keep_alive: float | None = None

    def feed(self, data: bytes) -> bool:
        """Take bytes; True once the answer is complete. Raises `ProtocolError` or `ReplyTooLarge`."""
        size = self._size
        if self._in_head:
            self._head_bytes += len(data)
            if data[:1] != b"H" and not self._head:
                data = _from_status_line(data)
            if self._refusal is not None:
                self._head += data
                self._parse_rewritten(len(self._head) - len(data))
            else:
                self._parse(data)
        else:
            self._parse(data)
        if self._error is not None:
            raise self._error
        if self._in_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                raise ReplyTooLarge(f"the answer's headers are over {MAX_HEAD_BYTES} bytes")
            if self._refusal is None:  # it comes in pieces
                self._head = self._head or bytearray()
                self._head += data
        elif not self.complete:
            # Chunk extensions and trailers: the parser collects them, and they need never end.
            self._beside_body = self._beside_body + len(data) if self._size == size else 0
            if self._beside_body > MAX_HEAD_BYTES:
                raise ReplyTooLarge(
                    f"the answer's chunk extensions or trailers are over {MAX_HEAD_BYTES} bytes"
                )
        return self.complete or (self.by_pieces and self.has_head)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("the endpoint switches to another protocol, which nobody asked for") from None
        except httptools.HttpParserError as error:
            refusal = error
        else:
            return
        # Not in the handler, where the context of an error that is raised would be replaced by this one.
        cause = refusal.__context__
        if cause is not None and not isinstance(cause, Exception):
            raise cause  # Ctrl-C in the midst of a callback is nothing that the answer is at fault for
        if self.complete:
            # A whole answer, then rubbish: the answer stands, the connection does not.
            self.reusable = False
        elif self._at_chunk == self._size:
            # Nothing came of the chunk that began last, so it was the empty one: what is wrong are the
            # trailers, of which nothing is read.
            self.complete = True
        elif self._in_head and self._refusal is None and has_status_line(head := self._head + data):
            self._refusal, self._last = refusal, True
            self._parser = self._new_parser()
            self.reset_head()
            self._head = bytearray(head)
            self._parse_rewritten(0)
        else:
            raise _broken(refusal, data) from refusal

    def _parse_rewritten(self, start: int) -> None:
        """Parse the heads that have come whole since ``start``, rewritten, and what follows the last one."""
        head = self._head
        assert isinstance(head, bytearray)
        while self._in_head and self._error is None:
            end = end_of_head(head, start - 2)
            if end is None:
                return
            self._parse(rewritten(bytes(head[:end])))
            del head[:end]
            start = 0
        self._parse(bytes(head))

    def finish(self) -> None:
        """The other side closed; raises `IncompleteReply` where the answer has not ended."""
        if self.complete:
            return
        if self._in_head and self._refusal is not None:
            raise _broken(self._refusal, self._head) from self._refusal
        if self._in_head or self._framed:
            where = "in its headers" if self._in_head else f"after {self._size} bytes of its body"
            raise IncompleteReply(f"the connection closed before the answer was complete, {where}")
        self.complete = True

    def end_with_connection(self) -> None:
        """Let the connection carry no other request, whatever the answer says."""
        self._last, self.reusable = True, False

    @property
    def started(self) -> bool:
        """True once a byte of the answer has come."""
        return self._head_bytes > 0

    @property
    def has_head(self) -> bool:
        """True once status and headers have come."""
        return not self._in_head and self.status >= 200

    # What llhttp calls. An exception raised in here would come out wrapped, so errors are kept for feed.

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # trailers say nothing about a call
        self.headers.append((name, value.rstrip(b" \t")))  # llhttp takes off what is before it only
        length = len(name)
        if length not in _LENGTHS_READ:
            return
        if length == 14:
            if name.lower() == b"content-length":
                self._framed = True
                if int(value) > self._limit and not (self._bodiless or self.unbounded):
                    self._too_large()
        elif length == 17:
            if name.lower() == b"transfer-encoding":
                # Just as llhttp reads it, which takes anything else, so a tab at the end, for no chunks.
                if self._framed or value.rstrip(b" ").lower() != b"chunked":
                    self._error = ProtocolError(f"transfer-encoding {shown(value, 80)} is not supported")
                self._framed = True
        elif length == 16:
            if name.lower() == b"content-encoding":
                self._encoded = True
        elif length == 10 and name.lower() == b"keep-alive":
            self.keep_alive = idle_seconds(value)

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        self._in_head = False
        if self.status < 100:
            self._error = ProtocolError(f"the answer's status, {self.status:03}, is not a valid one")
        elif self.status < 200:
            if self._framed and self.status not in _KNOWN_INTERIM:
                # It has none, whatever it says (RFC 9112, 6.3); llhttp would take the answer for its body.
                self._error = ProtocolError(f"an interim answer ({self.status}) says that it has a body")
        elif self._bodiless:
            # llhttp would wait for the body that the headers describe.
            self.complete = True

    def on_chunk_header(self) -> None:
        self._at_chunk = self._size

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return
        self.add(data)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:
            self.reset_head()
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive() and not self._last


def _from_status_line(data: bytes) -> bytes:
    """The first bytes of an answer, less the empty lines before it (RFC 9112, 2.2).

    Raises `ProtocolError` for another protocol; llhttp would take RTSP and ICE as well.
    """
    data = data.lstrip(b"\r\n")
    if data and not data.startswith(b"H"):
        raise ProtocolError(f"the answer is not HTTP: {_first_line(data)}")
    return data


def _broken(error: httptools.HttpParserError, data: bytes | bytearray) -> ProtocolError:
    return ProtocolError(f"the answer breaks HTTP: {error}: {_first_line(data)}")


def _first_line(data: bytes | bytearray) -> str:
    """Of one line, so that an endpoint that echoes requests does not bring the key into an error."""
    return shown(bytes(re.split(rb"[\r\n]", data, maxsplit=1)[0]), 80)
