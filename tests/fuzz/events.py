"""Random event streams, whole and corrupted."""

from __future__ import annotations

import random

_LINES = (
    "data: {piece}",
    "data: {piece}",
    "data:{piece}",
    "data",
    "data:",
    "event: error",
    "event:ping",
    ": a comment",
    ":",
    "id: 7",
    "retry: 10",
    "unknown: field",
    " data: no field",
)
_PIECES = (
    '{"choices":[{"index":0,"delta":{"content":"Grüße"}}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    '{"error":{"message":"overloaded"}}',
    "[DONE]",
    " ",
    "a\u2028b\u0085c",
    "\ufeff",
    "x" * 3000,
)


def event_stream(rng: random.Random) -> bytes:
    """Valid events with line ends of any kind."""
    lines = []
    for _ in range(rng.randrange(8)):
        count = rng.choice((1, 1, 1, 2, 4))
        lines += [rng.choice(_LINES).replace("{piece}", rng.choice(_PIECES)) for _ in range(count)]
        lines.append("")
    ends = rng.choice((("\n",), ("\r",), ("\r\n",), ("\n", "\r", "\r\n")))
    return "".join(line + rng.choice(ends) for line in lines).encode()
