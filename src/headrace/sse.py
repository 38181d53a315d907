"""Server-sent events without I/O, as the HTML standard has them (9.2.6, "Interpreting an event stream").

Lines end with LF, CR or CRLF, wherever packets are cut; a byte order mark at the beginning is left out;
comments and unknown fields say nothing; several lines of data are joined by LF; an event that the end of
the stream cuts is no event. Nor, other than there, is one whose data is empty: some endpoints keep a
connection alive by it. Reconnecting (``id``, ``retry``) is not for a call.
"""

from __future__ import annotations

from headrace.errors import ProtocolError

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Of one event; those of models are below 100 KiB, but for images in base64."""

_BOM = b"\xef\xbb\xbf"


class EventParser:
    """Cuts a stream of bytes into events: pairs of the event's name (empty for most) and its data."""

    __slots__ = ("_after_cr", "_begun", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that are complete with ``data``; raises `ProtocolError` for one without end."""
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        rest = self._rest
        if b"\n\n" not in data and not (data[:1] == b"\n" and rest[-1:] == b"\n"):
            # Not joined and searched again with each packet: that would take quadratic time for a long one.
            rest += data
            if len(rest) > MAX_EVENT_BYTES:
                raise ProtocolError(f"the answer has an event of over {MAX_EVENT_BYTES} bytes")
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

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            # Its line is over at once: an LF that belongs to it may come with the next packet, or never.
            self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: bytes) -> tuple[bytes, bytes] | None:
    name, lines = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    data = b"\n".join(lines)
    return (name, data) if data else None
