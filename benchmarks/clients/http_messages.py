"""What the two floors have in common: the head of their requests, and what llhttp tells of a response."""

from __future__ import annotations

from urllib.parse import urlsplit

from benchmarks.measuring import KEY


def origin_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def head_of(url: str) -> bytes:
    """A request's head, up to the number of bytes of its body."""
    parts = urlsplit(url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()


class Response:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.is_complete = False

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note that it is all there."""
        self.is_complete = True

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)
