"""Large request bodies over HTTP/2, sent in parts so that small requests need not wait for them."""

from __future__ import annotations

from headrace.calls import Content
from headrace.transports.http2.protocol_engine import Http2Engine

PART_SIZE = 64 * 1024
"""Bytes of a request body that the engine gets at a time."""


class Uploads:
    """The request bodies that are not completely sent, by stream id."""

    __slots__ = ("_engine", "_unsent")

    def __init__(self, engine: Http2Engine) -> None:
        self._engine = engine
        self._unsent: dict[int, tuple[Content, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._unsent)

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._unsent

    def add(self, stream_id: int, content: Content) -> None:
        """Send this body on a stream whose head is sent."""
        self._unsent[stream_id] = content, 0

    def cancel(self, stream_id: int) -> bool:
        """Stop sending a body. False if it is completely sent."""
        return self._unsent.pop(stream_id, None) is not None

    def send_next_parts(self) -> list[int]:
        """Give the engine the next parts. Returns the streams whose bodies are completely sent."""
        finished = []
        for stream_id, (content, start) in list(self._unsent.items()):
            if self._engine.queued_bytes(stream_id):
                continue
            if start < len(content):
                end = start + PART_SIZE
                self._engine.send_data(stream_id, content[start:end], last=end >= len(content))
                self._unsent[stream_id] = content, end
            else:
                del self._unsent[stream_id]
                finished.append(stream_id)
        return finished
