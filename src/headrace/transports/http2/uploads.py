"""Large requests over HTTP/2, a piece at a time, so that small ones find their way between."""

from __future__ import annotations

from headrace.transports.http2.protocol_engine import Http2Engine

PIECE = 64 * 1024
"""Bytes of a request that the engine gets at a time."""


class Uploads:
    """The requests whose bodies are on their way, by stream."""

    __slots__ = ("_engine", "_rests")

    def __init__(self, engine: Http2Engine) -> None:
        self._engine = engine
        self._rests: dict[int, memoryview] = {}

    def __bool__(self) -> bool:
        return bool(self._rests)

    def __contains__(self, stream: int) -> bool:
        return stream in self._rests

    def add(self, stream: int, content: bytes) -> None:
        """Send this body on a stream whose head is sent."""
        self._rests[stream] = memoryview(content)

    def drop(self, stream: int) -> bool:
        """Send no more of a body; False where all of it is handed over."""
        return self._rests.pop(stream, None) is not None

    def go_on(self) -> list[int]:
        """Give the engine the next pieces; the streams whose bodies it has sent to their ends."""
        over = []
        for stream, rest in list(self._rests.items()):
            if self._engine.waiting(stream):
                continue
            if rest:
                self._engine.send_more(stream, bytes(rest[:PIECE]), last=len(rest) <= PIECE)
                self._rests[stream] = rest[PIECE:]
            else:
                del self._rests[stream]
                over.append(stream)
        return over
