"""Rewrites response heads that HTTP forbids but every common client accepts.

Lines may end in a bare line feed. Values may be folded over several lines or contain control characters. The
parser itself stays strict: a head that it rejects is rewritten here and parsed a second time. So lengths,
transfer-encoding, names and everything else that decides where a response ends are parsed as usual.
"""

from __future__ import annotations

import re

_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/\d\.\d \d{3}([ \t][^\n]*|\r)?\n")
_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FRAMING = (b"content-length", b"transfer-encoding")

# RFC 9110, 5.5: reject them or replace them by a space. Some clients reject NUL, vertical tab and form feed,
# and some treat a bare carriage return as the end of a line; these four are left for the parser to reject.
_CONTROLS = bytes(
    0x20 if code in {*range(0x01, 0x09), *range(0x0E, 0x20), 0x7F} else code for code in range(256)
)


def has_status_line(head: bytes | bytearray) -> bool:
    """Whether these bytes start with a complete status line; otherwise they cannot be rewritten."""
    return _STATUS_LINE.match(head) is not None


def end_of_head(data: bytearray, start: int) -> int | None:
    """The end of the first head in ``data``, or None if it is incomplete. The search begins at ``start``."""
    found = _END.search(data, max(0, start))
    return found and found.end()


def rewrite_head(head: bytes) -> bytes:
    """A complete head in strict form, if only its line ends and values are wrong."""
    status_line, _, fields = head.partition(b"\n")
    lines = [status_line, *_FOLD.sub(b" ", fields).split(b"\n")]
    return b"\r\n".join(
        line if line.lower().startswith(_FRAMING) else line.translate(_CONTROLS)
        for line in (line.removesuffix(b"\r") for line in lines)
    )
