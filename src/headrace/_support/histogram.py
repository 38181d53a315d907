"""A histogram of latencies whose memory does not grow with their number."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

_GROWTH = math.log(1.01)
_SHORTEST = 1e-6
"""Seconds; shorter latencies are counted as this one."""

_FINEST = 3
"""Minimum number of 1 % buckets that one bucket of `LatencyHistogram.distribution` merges."""


class LatencyHistogram:
    """A histogram of seconds with buckets that grow by 1 %, so percentiles are exact to 1 %."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, int] = defaultdict(int)  # a Counter takes twice as long
        self._sum = 0.0
        self.count: int = 0

    @classmethod
    def of(cls, buckets: Mapping[int, int], total: float) -> LatencyHistogram:
        """The histogram with this `state`."""
        histogram = cls()
        histogram._buckets.update(buckets)
        histogram._sum, histogram.count = total, sum(buckets.values())
        return histogram

    def state(self) -> tuple[dict[int, int], float]:
        """The counts of the buckets, and the sum of all latencies in seconds."""
        return dict(self._buckets), self._sum

    def add(self, seconds: float) -> None:
        """Count one latency."""
        latency = seconds if seconds > _SHORTEST else _SHORTEST  # `max` takes nine times as long
        self._buckets[math.floor(math.log(latency) / _GROWTH)] += 1
        self._sum += seconds
        self.count += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of another histogram."""
        for bucket, number in other._buckets.items():
            self._buckets[bucket] += number
        self._sum += other._sum
        self.count += other.count

    @property
    def mean(self) -> float:
        """The mean in seconds; 0.0 if nothing was counted."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The latency in seconds that ``percent`` of all latencies do not exceed."""
        remaining = max(1, math.ceil(self.count * percent / 100))
        for bucket in sorted(self._buckets):
            remaining -= self._buckets[bucket]
            if remaining <= 0:
                return math.exp((bucket + 0.5) * _GROWTH)
        return 0.0

    def distribution(self, max_buckets: int) -> list[tuple[float, float, int]]:
        """At most ``max_buckets`` buckets that are not empty: start and end in seconds, and count."""
        if not self._buckets:
            return []
        lowest = min(self._buckets)
        merged = max(_FINEST, math.ceil((max(self._buckets) - lowest + 1) / max_buckets))
        counts: Counter[int] = Counter()
        for bucket, count in self._buckets.items():
            counts[(bucket - lowest) // merged] += count
        edges = {n: (lowest + n * merged) * _GROWTH for n in counts}
        return [
            (math.exp(edges[n]), math.exp(edges[n] + merged * _GROWTH), counts[n]) for n in sorted(counts)
        ]
