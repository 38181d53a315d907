"""How h11 parses responses, and where it disagrees with llhttp."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import h11

STRICTER: Mapping[str, str] = {
    r"Missing expected CR": "a bare line feed ends a chunk line: other parsers may see other lines",
    r"Expected LF after chunk": "a bare carriage return in a chunk line, as above",
    r"Invalid HTTP version": "only HTTP/1.0 and 1.1 exist; h11 accepts any 1.x",
    r"character in chunk (extensions|size)": "not allowed by the grammar of chunks (RFC 9112, 7.1)",
    r"Duplicate Content-Length|in Content-Length": "two equal lengths; no correct server sends them",
    r"can't be present with": "a length and chunks: a sign of request smuggling (RFC 9112, 6.3)",
    r"transfer-encoding .* is not supported": "chunked and a tab, which llhttp does not read as chunked",
    r"announces a body": "an interim response that llhttp does not know, and reads with a body",
    r"Invalid response status": "a status line without its second space (RFC 9112, 4)",
    r"Data after `Connection: close`": "an interim response with close, followed by another response",
}
"""What llhttp rejects and h11 accepts, by llhttp's message, and why that is acceptable."""

LOOSER: Mapping[str, str] = {
    r"illegal status line": "a control character in the reason phrase, which is not read",
    r"illegal chunk header: bytearray\(b'[0-9a-fA-F]+(\\t| )+;": "blanks before extensions (RFC 9112, 7.1.1)",
    r"no response line received": "empty lines before the status line must be skipped (RFC 9112, 2.2)",
    r"illegal header line|Transfer-Encoding|Content-Length": "in trailers, which are not read",
    r"continuation line at start of headers": "read as a header, as aiohttp and urllib3 do",
}
"""What h11 rejects and llhttp accepts, in the same form."""


@attrs.frozen
class Refused:
    """h11's error for a response."""

    message: str

    @property
    def waits_for_more(self) -> bool:
        """Whether h11 says that the response is truncated."""
        return "peer unexpectedly closed connection" in self.message


def why(reasons: Mapping[str, str], message: str) -> str | None:
    """Why the two differ, or None if the reason is unknown."""
    return next((reason for pattern, reason in reasons.items() if re.search(pattern, message)), None)


def read_by_h11(method: str, data: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes] | Refused:
    """The first response that is not interim, over a connection that is closed after it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    status, headers, body, closed = 0, [], b"", False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status, headers = event.status_code, event.headers.raw_items()
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, headers, body
            elif event is h11.NEED_DATA and not closed:
                connection.receive_data(b"")
                closed = True
            elif not isinstance(event, h11.InformationalResponse):
                return Refused(f"{event!r}")
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
