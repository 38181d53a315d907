"""The window of a closed circuit: how many of the latest calls failed, and how many were slow."""

from __future__ import annotations

from collections import deque
from typing import Protocol

BUCKETS = 60


class Window(Protocol):
    """The latest calls: how many there are, how many ``failed`` and how many were ``slow``."""

    calls: int
    failed: int
    slow: int

    def record(self, now: float, failed: bool, slow: bool) -> None:
        """Add one result, and remove those that are too old."""


class TimeWindow:
    """The calls of the last ``seconds``.

    They are counted in `BUCKETS` equal buckets, and the oldest bucket is removed as a whole. So each call
    takes constant work, and a result counts for ``seconds``, less one bucket at most.
    """

    __slots__ = (
        "_bucket",
        "_bucket_ends",
        "_bucket_seconds",
        "_calls",
        "_failed",
        "_index",
        "_slow",
        "calls",
        "failed",
        "slow",
    )

    def __init__(self, seconds: float) -> None:
        self._bucket_seconds = seconds / BUCKETS
        self._bucket = self._index = 0
        self._bucket_ends = 0.0
        self._calls = [0] * BUCKETS
        self._failed = [0] * BUCKETS
        self._slow = [0] * BUCKETS
        self.calls: int = 0
        self.failed: int = 0
        self.slow: int = 0

    def record(self, now: float, failed: bool, slow: bool) -> None:
        """Add one result, and remove those that are too old."""
        if now >= self._bucket_ends:
            self._advance(int(now / self._bucket_seconds))
        index = self._index
        self._calls[index] += 1
        self.calls += 1
        if failed:
            self._failed[index] += 1
            self.failed += 1
        if slow:
            self._slow[index] += 1
            self.slow += 1

    def _advance(self, bucket: int) -> None:
        """Make ``bucket`` (its number since time 0) the current one, and empty those that it replaces."""
        for number in range(max(self._bucket, bucket - BUCKETS) + 1, bucket + 1):
            index = number % BUCKETS
            self.calls -= self._calls[index]
            self.failed -= self._failed[index]
            self.slow -= self._slow[index]
            self._calls[index] = self._failed[index] = self._slow[index] = 0
        self._bucket, self._index = bucket, bucket % BUCKETS
        self._bucket_ends = (bucket + 1) * self._bucket_seconds


class CallWindow:
    """The last ``size`` calls, independent of time."""

    __slots__ = ("_results", "_size", "calls", "failed", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: deque[tuple[bool, bool]] = deque()
        self.calls: int = 0
        self.failed: int = 0
        self.slow: int = 0

    def record(self, now: float, failed: bool, slow: bool) -> None:
        """Add one result, and remove the oldest if the window is full."""
        if self.calls == self._size:
            oldest_failed, oldest_slow = self._results.popleft()
            self.failed -= oldest_failed
            self.slow -= oldest_slow
        else:
            self.calls += 1
        self._results.append((failed, slow))
        self.failed += failed
        self.slow += slow
