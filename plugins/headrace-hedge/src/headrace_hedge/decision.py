"""Which calls may be hedged, when, and how many of them; without clock, loop or I/O.

After Jeffrey Dean and Luiz André Barroso, "The Tail at Scale", Communications of the ACM 56 (2013), 2: a
second request is sent when the first has been on the wire for longer than most are, so that few are sent.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import TypeAlias

from headrace import Request

Kind: TypeAlias = tuple[str, str | None]

ENOUGH = 100
"""So many latencies must be known before a percentile of them says anything."""

REMEMBERED = 1000
"""So many latencies, and so many calls' share of extra requests, are remembered."""

_REPEATABLE = ("/completions", "/embeddings", "/responses")
"""The ends of the paths of those POSTs that may be sent twice; the first is that of chats as well."""

_LASTING = ("background", "conversation")
"""Members of a response's body that leave something behind there: a job, another turn."""


def kind_of(request: Request) -> Kind | None:
    """What the request's latency is compared with; None for one that must not be sent twice.

    Sent twice are what only reads, and what asks a model: a file, a batch, a background job or a turn of a
    stored conversation would be there twice.
    """
    if request.method == "GET":
        return "GET", None
    if request.method != "POST":
        return None
    path = request.path.partition("?")[0]
    if not path.endswith(_REPEATABLE):
        return None
    if path.endswith("/responses") and any((request.body or {}).get(name) for name in _LASTING):
        return None
    return path, request.model


class Latencies:
    """The latest `REMEMBERED` latencies of one kind of call, in seconds."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Remember one, and forget the oldest where there are too many."""
        self._in_order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._in_order) > REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]

    def percentile(self, percent: float) -> float | None:
        """The latency that ``percent`` of them do not exceed; None while fewer than `ENOUGH` are known."""
        known = len(self._sorted)
        if known < ENOUGH:
            return None
        return self._sorted[math.ceil(known * percent / 100) - 1]


class Allowance:
    """How many extra requests may be sent: ``share`` of the calls, as a bucket of tokens that begins empty.

    Each call adds its share and each extra request takes a whole one, so that there are never more of them
    than that. No more is saved than the share of `REMEMBERED` calls: a quiet day does not allow for an hour
    in which everything is sent twice, least of all to an endpoint that is slow because it has too much to do.
    """

    __slots__ = ("_saved", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 0.0

    def called(self) -> None:
        """A call was made that could be hedged."""
        self._saved = min(self._saved + self._share, self._share * REMEMBERED)

    def take(self) -> bool:
        """Whether an extra request may be sent; if so, it is counted."""
        # Twenty times a twentieth is a little less than one.
        if self._saved < 1.0 - 1e-9:
            return False
        self._saved -= 1.0
        return True

    def give_back(self) -> None:
        """One that was counted was not sent."""
        self._saved += 1.0
