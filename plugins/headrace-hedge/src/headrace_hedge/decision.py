"""Which calls may be hedged, when, and how many of them; without clock, loop or I/O.

After Jeffrey Dean and Luiz André Barroso, "The Tail at Scale", Communications of the ACM 56 (2013), 2: a
second request is sent when the first has been on the wire for longer than most requests, so few are sent.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import TypeAlias

from headrace import Request

RequestKind: TypeAlias = tuple[str, str | None]
"""A path (or the method GET) and a model: requests of one kind have similar latencies."""

MIN_SAMPLES = 100
"""Latencies that are needed for a percentile."""

MAX_SAMPLES = 1000
"""Latencies that are remembered."""

MAX_CALLS_SAVED = 1000
"""Calls whose share of extra requests is saved up."""

_REPEATABLE = ("/completions", "/embeddings", "/responses")
"""Ends of the paths of POSTs that may be sent twice; the first includes ``/chat/completions``."""

_STATEFUL = ("background", "conversation")
"""Members of a ``/responses`` body that create something on the server: a job, or a turn."""


def request_kind(request: Request) -> RequestKind | None:
    """The kind of a request, None if it must not be sent twice.

    A request that only reads, or only asks a model, may be sent twice. A request that creates a file, a
    batch, a background job or a turn of a stored conversation must not: it would create two.
    """
    if request.method == "GET":
        return "GET", None
    if request.method != "POST":
        return None
    path = request.path.partition("?")[0]
    if not path.endswith(_REPEATABLE):
        return None
    if path.endswith("/responses") and any((request.body or {}).get(name) for name in _STATEFUL):
        return None
    return path, request.model


class LatencyWindow:
    """The latest `MAX_SAMPLES` latencies of one kind of request, in seconds."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def record(self, seconds: float) -> None:
        """Add a latency, and remove the oldest if there are too many."""
        self._in_order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._in_order) > MAX_SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]

    def percentile(self, percent: float) -> float | None:
        """The latency that ``percent`` of them do not exceed; None if fewer than `MIN_SAMPLES` are known."""
        known = len(self._sorted)
        if known < MIN_SAMPLES:
            return None
        return self._sorted[math.ceil(known * percent / 100) - 1]


class HedgeBudget:
    """How many extra requests may be sent: a token bucket that is empty at first.

    Each call adds ``share`` of a token and each extra request takes one, so extra requests are never more
    than that share of the calls. At most the share of `MAX_CALLS_SAVED` calls is saved. Otherwise, after a
    quiet day, everything could be sent twice for an hour, even to an endpoint that is slow from overload.
    """

    __slots__ = ("_balance", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._balance = 0.0

    def deposit(self) -> None:
        """Add the share of one call that could be hedged."""
        self._balance = min(self._balance + self._share, self._share * MAX_CALLS_SAVED)

    def try_withdraw(self) -> bool:
        """Take a token for an extra request; return whether there was one."""
        # The sum of twenty times 0.05 is slightly less than 1.
        if self._balance < 1.0 - 1e-9:
            return False
        self._balance -= 1.0
        return True

    def refund(self) -> None:
        """Return the token of an extra request that was not sent."""
        self._balance += 1.0
