"""Server-sent events without I/O, as the HTML standard has them (9.2.6, "Interpreting an event stream").

Lines end with LF, CR or CRLF, wherever packets are cut; a byte order mark at the beginning is left out;
comments and unknown fields say nothing; several lines of data are joined by LF. An event whose data is empty
is left out: some endpoints keep a connection alive by it. Reconnecting (``id``, ``retry``) is not for a call.

Three things differ from the standard, because endpoints do them: the last event counts without its blank
line, ``error:`` is a field and means an event of that name, and a JSON object without a field is data.
"""

from __future__ import annotations

import math
import re

from headrace.errors import ReplyTooLarge

_BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb"\A(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry|error):|:)")
_HAS_FIELD = re.compile(rb"^(?:data|event|id|retry|error|):", re.MULTILINE)
_CUT_FIELD = re.compile(
    rb"\s*(?:d|da|dat|data|e|ev|eve|even|event|er|err|erro|error|i|id|r|re|ret|retr|retry)?\s*"
)
_LONGEST_FIELD = len(_BOM) + len("event:")


def looks_like_events(content: bytes) -> bool:
    """True for a body that begins like a stream of events, whatever it is declared as."""
    return bool(_FIELD.match(content))


def may_become_events(content: bytes) -> bool:
    """True while too little has come to tell."""
    return len(content.strip()) < _LONGEST_FIELD


class EventParser:
    """Cuts a stream of bytes into events: pairs of the event's name (empty for most) and its data."""

    __slots__ = ("_after_cr", "_begun", "_max_bytes", "_rest")

    def __init__(self, max_bytes: float = math.inf) -> None:
        """``max_bytes``: the most that one event may have; `feed` raises `ReplyTooLarge` over it."""
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that are complete with ``data``; raises `ReplyTooLarge`."""
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        rest = self._rest
        if b"\n\n" not in data and not (data[:1] == b"\n" and rest[-1:] == b"\n"):
            # Not joined and searched again with each packet: that would take quadratic time for a long one.
            rest += data
            if len(rest) > self._max_bytes:
                raise ReplyTooLarge(f"an event of the answer is over max_response_bytes={self._max_bytes}")
            return []
        *blocks, after = (bytes(rest) + data).split(b"\n\n") if rest else data.split(b"\n\n")
        self._rest = bytearray(after)
        if not self._begun:
            self._begun = True
            blocks[0] = blocks[0].removeprefix(_BOM)
        events = []
        for block in blocks:
            if len(block) > 6 and block[:6] == b"data: " and b"\n" not in block:  # nearly all are like this
                events.append((b"", block[6:]))
            else:
                event = _event(block)
                if event is not None:
                    events.append(event)
        return events

    def end(self) -> list[tuple[bytes, bytes]]:
        """The event that the end of the stream completes, if there is one."""
        block = bytes(self._rest)
        self._rest.clear()
        block = block if self._begun else block.removeprefix(_BOM)
        event = _event(block)
        if event is None and not _HAS_FIELD.search(block) and not _CUT_FIELD.fullmatch(block):
            event = b"", block.strip()  # a proxy's own words, on which the stream ends
        return [] if event is None or not event[1] else [event]

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            # Its line is over at once: an LF that belongs to it may come with the next packet, or never.
            self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: bytes) -> tuple[bytes, bytes] | None:
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
