"""Parses server-sent events, by the HTML standard (9.2.6, "Interpreting an event stream"). No I/O.

Lines end with LF, CR or CRLF, which may be split between packets. A byte order mark at the beginning,
comments and unknown fields are ignored. Several lines of data are joined by LF. An event without data is
skipped: some endpoints send it to keep a connection alive. ``id`` and ``retry`` are ignored: a call does not
reconnect.

Three things differ from the standard, because endpoints need them: the last event needs no blank line after
it, ``error:`` is a field and gives the event that name, and a JSON object without a field is data.
"""

from __future__ import annotations

import math
import re

from headrace.errors import ReplyTooLarge

_BOM = b"\xef\xbb\xbf"
_FIRST_FIELD = re.compile(rb"\A(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry|error):|:)")
_ANY_FIELD = re.compile(rb"^(?:data|event|id|retry|error|):", re.MULTILINE)
_INCOMPLETE_FIELD = re.compile(
    rb"\s*(?:d|da|dat|data|e|ev|eve|even|event|er|err|erro|error|i|id|r|re|ret|retr|retry)?\s*"
)
_MIN_BYTES_TO_DECIDE = len(_BOM) + len("event:")


def looks_like_events(content: bytes) -> bool:
    """Return whether a body begins like a stream of events; its content type is ignored."""
    return bool(_FIRST_FIELD.match(content))


def may_become_events(content: bytes) -> bool:
    """Return whether there are too few bytes for `looks_like_events` to decide."""
    return len(content.strip()) < _MIN_BYTES_TO_DECIDE


class EventParser:
    """Splits a stream of bytes into events: pairs of the event's name, which is usually empty, and its data.

    Args:
        max_bytes: The maximum size of one event, in bytes.
    """

    __slots__ = ("_after_cr", "_max_bytes", "_rest", "_started")

    def __init__(self, max_bytes: float = math.inf) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the events that ``data`` completes; raise `ReplyTooLarge` for an event over the maximum."""
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        rest = self._rest
        if b"\n\n" not in data and not (data[:1] == b"\n" and rest[-1:] == b"\n"):
            # Joining and searching again for each packet would take quadratic time for a long event.
            rest += data
            if len(rest) > self._max_bytes:
                raise ReplyTooLarge(f"an event of the answer is over max_response_bytes={self._max_bytes}")
            return []
        *blocks, after = (bytes(rest) + data).split(b"\n\n") if rest else data.split(b"\n\n")
        self._rest = bytearray(after)
        if not self._started:
            self._started = True
            blocks[0] = blocks[0].removeprefix(_BOM)
        events = []
        for block in blocks:
            if len(block) > 6 and block[:6] == b"data: " and b"\n" not in block:  # the usual case
                events.append((b"", block[6:]))
            else:
                event = _parse_event(block)
                if event is not None:
                    events.append(event)
        return events

    def end(self) -> list[tuple[bytes, bytes]]:
        """Return the event that the end of the stream completes, if there is one."""
        block = bytes(self._rest)
        self._rest.clear()
        block = block if self._started else block.removeprefix(_BOM)
        event = _parse_event(block)
        if event is None and not _ANY_FIELD.search(block) and not _INCOMPLETE_FIELD.fullmatch(block):
            event = b"", block.strip()  # a proxy's message at the end of the stream
        return [] if event is None or not event[1] else [event]

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Return data with LF as the only line end."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            # A CR ends its line at once: its LF may arrive with the next packet, or never.
            self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse_event(block: bytes) -> tuple[bytes, bytes] | None:
    """Return the event that a block of lines makes, None if it has no data."""
    if block.lstrip()[:1] in {b"{", b"["}:
        return b"", block.strip()
    name, lines = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
        elif field == b"error":
            name = field
            lines.append(value)
    data = b"\n".join(lines)
    return (name, data) if data else None
