"""Parses HTTP/1.1 responses, without I/O: bytes to status, headers and body, with llhttp (httptools).

llhttp rejects input that allows smuggling: two content-lengths, a length with chunks, malformed chunks, bare
line feeds. This module handles the rest: responses that end with the connection, interim (1xx) responses,
sizes, and unrequested bytes.

A head that llhttp rejects is parsed a second time after `lenient_heads` has rewritten it. Two parsers that
read such a head differently may disagree about the end of the response, so its connection is not reused.

Headers are read at once. To parse them again when they are used would save 2 µs, but need a second parser.
"""

from __future__ import annotations

import re

import httptools

from headrace._support.text import shown
from headrace.errors import IncompleteReply, ProtocolError, ReplyTooLarge
from headrace.transports.http1.keep_alive import idle_seconds
from headrace.transports.http1.lenient_heads import end_of_head, has_status_line, rewrite_head
from headrace.transports.incoming_response import MAX_HEAD_BYTES, IncomingResponse

_NAME_LENGTHS = frozenset({10, 14, 16, 17})
"""The lengths of the header names that matter here."""

_KNOWN_INTERIM = frozenset({100, 102, 103})
"""Interim statuses that llhttp supports; it expects bodies after others. 103 may contain the final length."""


class ResponseParser(IncomingResponse):
    """Parses the responses that arrive over one connection, one after the other.

    Call `begin`, then `feed` with each received part until it returns True, or `finish` when the server
    closes. Then ``status``, ``headers`` and `content` hold the response, and ``reusable`` is whether the
    connection may carry another request. While ``streaming`` is set, `feed` returns True once the head is
    complete, and then whenever `take_body` may return something.
    """

    __slots__ = (
        "_chunk_start",
        "_close_after",
        "_framed",
        "_head",
        "_head_bytes",
        "_in_head",
        "_no_body",
        "_overhead_bytes",
        "_parser",
        "_rejection",
        "keep_alive",
        "reusable",
    )

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._parser = self._new_parser()
        self.begin("POST")

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Spaces between a chunk's size and the end of its line: they have no second meaning.
        parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        return parser

    def begin(self, method: str) -> None:
        """Prepare for the response to a request with this method."""
        self._no_body = method == "HEAD"
        self._head: bytes | bytearray = b""
        self._head_bytes = 0
        self._rejection: httptools.HttpParserError | None = None
        self._close_after = False
        self.reusable: bool = False
        self.reset()

    def reset_head(self) -> None:
        """See `IncomingResponse.reset_head`."""
        super().reset_head()
        self._chunk_start = -1
        self._overhead_bytes = 0
        self._in_head = True
        self._framed = False
        self.keep_alive: float | None = None

    def feed(self, data: bytes) -> bool:
        """Parse bytes. True once the response is complete. Raises `ProtocolError` or `ReplyTooLarge`."""
        size = self._size
        if self._in_head:
            self._head_bytes += len(data)
            if data[:1] != b"H" and not self._head:
                data = _from_status_line(data)
            if self._rejection is not None:
                self._head += data
                self._parse_lenient(len(self._head) - len(data))
            else:
                self._parse(data)
        else:
            self._parse(data)
        if self._error is not None:
            raise self._error
        if self._in_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                raise ReplyTooLarge(f"the response's headers are over {MAX_HEAD_BYTES} bytes")
            if self._rejection is None:  # only a part of the head has arrived
                self._head = self._head or bytearray()
                self._head += data
        elif not self.complete:
            # Chunk extensions and trailers: the parser keeps them, and a server may send them without end.
            self._overhead_bytes = self._overhead_bytes + len(data) if self._size == size else 0
            if self._overhead_bytes > MAX_HEAD_BYTES:
                raise ReplyTooLarge(
                    f"the response's chunk extensions or trailers are over {MAX_HEAD_BYTES} bytes"
                )
        return self.complete or (self.streaming and self.has_head)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError(
                "the endpoint switches to another protocol, which was not requested"
            ) from None
        except httptools.HttpParserError as error:
            rejection = error
        else:
            return
        # Outside the except block, because there the context of a raised error would be replaced by this one.
        cause = rejection.__context__
        if cause is not None and not isinstance(cause, Exception):
            raise cause  # Ctrl-C during a callback is not a fault of the response
        if self.complete:
            # Garbage after a complete response: the response is valid, but the connection is not reused.
            self.reusable = False
        elif self._chunk_start == self._size:
            # The last chunk is empty, so the body has ended and the error is in the trailers, which are
            # ignored.
            self.complete = True
        elif self._in_head and self._rejection is None and has_status_line(head := self._head + data):
            self._rejection, self._close_after = rejection, True
            self._parser = self._new_parser()
            self.reset_head()
            self._head = bytearray(head)
            self._parse_lenient(0)
        else:
            raise _protocol_error(rejection, data) from rejection

    def _parse_lenient(self, start: int) -> None:
        """Rewrite and parse the heads that are complete since ``start``, then parse the bytes after them."""
        head = self._head
        assert isinstance(head, bytearray)
        while self._in_head and self._error is None:
            end = end_of_head(head, start - 2)
            if end is None:
                return
            self._parse(rewrite_head(bytes(head[:end])))
            del head[:end]
            start = 0
        self._parse(bytes(head))

    def finish(self) -> None:
        """Handle the end of the connection. Raises `IncompleteReply` if the response has not ended."""
        if self.complete:
            return
        if self._in_head and self._rejection is not None:
            raise _protocol_error(self._rejection, self._head) from self._rejection
        if self._in_head or self._framed:
            where = "in its headers" if self._in_head else f"after {self._size} bytes of its body"
            raise IncompleteReply(f"the connection closed before the response was complete, {where}")
        self.complete = True

    def disable_reuse(self) -> None:
        """Do not reuse the connection, even if the response allows it."""
        self._close_after, self.reusable = True, False

    @property
    def started(self) -> bool:
        """Whether a byte of the response has arrived."""
        return self._head_bytes > 0

    @property
    def has_head(self) -> bool:
        """Whether status and headers have arrived."""
        return not self._in_head and self.status >= 200

    # Called by llhttp, which wraps exceptions. So errors are stored, and `feed` raises them.

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # trailers are ignored
        self.headers.append((name, value.rstrip(b" \t")))  # llhttp strips only the left side
        length = len(name)
        if length not in _NAME_LENGTHS:
            return
        if length == 14:
            if name.lower() == b"content-length":
                self._framed = True
                if int(value) > self._limit and not (self._no_body or self.unbounded):
                    self._set_too_large()
        elif length == 17:
            if name.lower() == b"transfer-encoding":
                # As llhttp reads it: with anything else, even a tab at the end, it does not expect chunks.
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
        self.status: int = self._parser.get_status_code()
        self._in_head = False
        if self.status < 100:
            self._error = ProtocolError(f"the response's status {self.status:03} is not a valid status")
        elif self.status < 200:
            if self._framed and self.status not in _KNOWN_INTERIM:
                # Interim responses have no body (RFC 9112, 6.3); llhttp would read the final response as one.
                self._error = ProtocolError(f"an interim response ({self.status}) announces a body")
        elif self._no_body:
            # llhttp would wait for the body that the headers announce.
            self.complete = True

    def on_chunk_header(self) -> None:
        self._chunk_start = self._size

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return
        self.add_body(data)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:
            self.reset_head()
            return
        self.complete: bool = True
        self.reusable = self._parser.should_keep_alive() and not self._close_after


def _from_status_line(data: bytes) -> bytes:
    """The first bytes of a response without the empty lines before it (RFC 9112, 2.2).

    Raises `ProtocolError` for another protocol; llhttp would accept RTSP and ICE too.
    """
    data = data.lstrip(b"\r\n")
    if data and not data.startswith(b"H"):
        raise ProtocolError(f"the response is not HTTP: {_first_line(data)}")
    return data


def _protocol_error(error: httptools.HttpParserError, data: bytes | bytearray) -> ProtocolError:
    return ProtocolError(f"the response violates HTTP: {error}: {_first_line(data)}")


def _first_line(data: bytes | bytearray) -> str:
    """Only one line, so that an endpoint that echoes requests does not put the key into an error."""
    return shown(bytes(re.split(rb"[\r\n]", data, maxsplit=1)[0]), 80)
