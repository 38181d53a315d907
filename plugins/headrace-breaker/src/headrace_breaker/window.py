"""What a closed circuit remembers: how many of the latest calls failed, and how many were slow."""

from __future__ import annotations

from collections import deque
from typing import Protocol

BUCKETS = 60


class Window(Protocol):
    """The latest calls: how many there are, how many ``failed`` and how many were ``slow``."""

    calls: int
    failed: int
    slow: int

    def count(self, now: float, failed: bool, slow: bool) -> None:
        """Count one result, and forget what is too old."""


class TimeWindow:
    """The calls of the last ``length`` seconds.

    They are counted in `BUCKETS` equal slices that are forgotten one at a time: constant work a call, and a
    result counts for ``length`` seconds less at most one slice.
    """

    __slots__ = ("_at", "_calls", "_failed", "_slice", "_slow", "_until", "_width", "calls", "failed", "slow")

    def __init__(self, length: float) -> None:
        self._width = length / BUCKETS
        self._slice = self._at = 0
        self._until = 0.0
        self._calls = [0] * BUCKETS
        self._failed = [0] * BUCKETS
        self._slow = [0] * BUCKETS
        self.calls = self.failed = self.slow = 0

    def count(self, now: float, failed: bool, slow: bool) -> None:
        """Count one result, and forget what is too old."""
        if now >= self._until:
            self._advance(int(now / self._width))
        at = self._at
        self._calls[at] += 1
        self.calls += 1
        if failed:
            self._failed[at] += 1
            self.failed += 1
        if slow:
            self._slow[at] += 1
            self.slow += 1

    def _advance(self, slice_: int) -> None:
        for passed in range(max(self._slice, slice_ - BUCKETS) + 1, slice_ + 1):
            at = passed % BUCKETS
            self.calls -= self._calls[at]
            self.failed -= self._failed[at]
            self.slow -= self._slow[at]
            self._calls[at] = self._failed[at] = self._slow[at] = 0
        self._slice, self._at = slice_, slice_ % BUCKETS
        self._until = (slice_ + 1) * self._width


class CallWindow:
    """The last ``length`` calls, however long ago they were."""

    __slots__ = ("_length", "_results", "calls", "failed", "slow")

    def __init__(self, length: int) -> None:
        self._length = length
        self._results: deque[tuple[bool, bool]] = deque()
        self.calls = self.failed = self.slow = 0

    def count(self, now: float, failed: bool, slow: bool) -> None:
        """Count one result, and forget what is too old."""
        if self.calls == self._length:
            failed_then, slow_then = self._results.popleft()
            self.failed -= failed_then
            self.slow -= slow_then
        else:
            self.calls += 1
        self._results.append((failed, slow))
        self.failed += failed
        self.slow += slow
