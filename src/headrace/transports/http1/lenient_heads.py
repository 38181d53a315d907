"""Heads of answers that HTTP does not allow and every widespread client takes, rewritten as HTTP has them.

Lines may end in a bare line feed, values may be folded over several lines or hold control characters. The
parser itself stays strict: a head that it refuses is rewritten here and given to it once more, so lengths,
transfer-encoding, names and whatever else decides where an answer ends are read as in any other.
"""

from __future__ import annotations

import re

_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/\d\.\d \d{3}([ \t][^\n]*|\r)?\n")
_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FRAMING = (b"content-length", b"transfer-encoding")

# RFC 9110, 5.5: to be refused or replaced by a blank. NUL, vertical tab and form feed are refused by one
# or another client, and a bare carriage return ends a line to some readers; all four stay for the parser.
_CONTROLS = bytes(
    0x20 if code in {*range(0x01, 0x09), *range(0x0E, 0x20), 0x7F} else code for code in range(256)
)


def has_status_line(head: bytes | bytearray) -> bool:
    """Whether these bytes begin with a whole status line; what does not is no head to be rewritten."""
    return _STATUS_LINE.match(head) is not None


def end_of_head(data: bytearray, start: int) -> int | None:
    """Where the first head in ``data`` ends, None where it goes on; ``start`` is where to look from."""
    found = _END.search(data, max(0, start))
    return found and found.end()


def rewritten(head: bytes) -> bytes:
    """A whole head as a strict parser takes it, if anything but the line ends and values is in order."""
    status_line, _, fields = head.partition(b"\n")
    lines = [status_line, *_FOLD.sub(b" ", fields).split(b"\n")]
    return b"\r\n".join(
        line if line.lower().startswith(_FRAMING) else line.translate(_CONTROLS)
        for line in (line.removesuffix(b"\r") for line in lines)
    )
