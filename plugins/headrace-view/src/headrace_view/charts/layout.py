"""Where the buckets of a run are in its charts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.pages import TimeAxis, split_at_pauses
from headrace_view.charts.bucket import Bucket


class Layout:
    """The time axis of a run with the begin and the end of each bucket on it.

    Args:
        buckets: What was done, in order of time; at least one.
        width: The width of a bucket, in seconds.

    Attributes:
        axis: The time axis, in seconds since the first bucket.
        buckets: The buckets.
        periods: The same buckets by active period.
        width: The width of a bucket, in seconds.
    """

    def __init__(self, buckets: Sequence[Bucket], width: float) -> None:
        self.buckets = buckets
        self.width = width
        self._first = buckets[0].start
        numbers = [round((bucket.start - self._first) / width) for bucket in buckets]
        lengths = [len(part) for part in split_at_pauses(numbers, width)]
        firsts = [sum(lengths[:number]) for number in range(len(lengths))]
        self.periods: list[Sequence[Bucket]] = [
            buckets[first : first + length] for first, length in zip(firsts, lengths, strict=True)
        ]
        self.axis: TimeAxis = TimeAxis(
            [(self.since(part[0]), self.since(part[-1]) + width) for part in self.periods]
        )

    def since(self, bucket: Bucket) -> float:
        """The seconds from the first bucket to this one."""
        return bucket.start - self._first

    def span(self, bucket: Bucket) -> tuple[float, float]:
        """The shares of the width at which a bucket begins and ends."""
        begin = self.since(bucket)
        return self.axis.place(begin), self.axis.place(begin + self.width)
