"""Request heads and response parsing, shared by the two lower bounds over HTTP/1.1."""

from __future__ import annotations

from urllib.parse import urlsplit

from benchmarks.measurement import KEY


def origin_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def head_of(url: str) -> bytes:
    """The head of a request, up to the value of Content-Length."""
    parts = urlsplit(url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()


class Response:
    """A response; llhttp calls its methods."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.is_complete = False

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note that the response is complete."""
        self.is_complete = True

    @property
    def body(self) -> bytes:
        """The complete body."""
        return b"".join(self._parts)
