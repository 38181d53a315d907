"""Counts over time, in buckets that are merged when there are too many.

Each width of the ladder is a multiple of the one before, so neighbours merge without error. Only buckets with
counts are stored, so a run that was resumed after a week needs no memory for the pause, and no coarser
buckets.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from headrace.pages import split_at_pauses
from headrace.pages.scales import bar_width

_SECOND = 1000
_HOUR = 3600 * _SECOND
_LADDER = [
    *(1, 5, 10, 50, 100, 500),
    *(seconds * _SECOND for seconds in (1, 5, 10, 30, 60, 300, 600, 1800)),
    *(hours * _HOUR for hours in (1, 2, 6, 12, 24, 168, 840, 8400, 84_000, 840_000, 8_400_000)),
]
"""Widths of the stored buckets in ms. The last is longer than any possible time span."""

_KEPT = 4096


@attrs.frozen
class Bar:
    """The counts of one bucket, which begins at ``start``."""

    start: int
    succeeded: int
    failed: int


@attrs.frozen
class ActivePeriod:
    """A time without a pause, from ``start`` to ``end``, with its non-empty bars."""

    start: int
    end: int
    bars: tuple[Bar, ...]


@attrs.frozen
class TimelineView:
    """The active periods of a run, in bars of one width. Times are ms since the first call."""

    width: int
    periods: tuple[ActivePeriod, ...]

    @property
    def pauses(self) -> list[int]:
        """The length of each pause between two periods."""
        return [self.periods[n + 1].start - each.end for n, each in enumerate(self.periods[:-1])]

    @property
    def active(self) -> int:
        """The time from the first call to the last item, without the pauses."""
        return self.periods[-1].end - sum(self.pauses)


class Timeline:
    """When items were done, in constant memory. Times are Unix ms."""

    def __init__(self) -> None:
        self._step = 0
        self._counts: dict[int, tuple[int, int]] = {}
        self.first: int | None = None
        self.last: int = 0

    def add(self, completed_at: float, elapsed: float, *, failed: bool) -> None:
        """Add an item: when it was done, in Unix seconds, and how many seconds it took."""
        done = round(completed_at * 1000)
        began = done - round(elapsed * 1000)
        if self.first is None:
            self.first, self._origin = began, began
        self.first = min(self.first, began)
        self.last = max(self.last, done)
        bucket = (done - self._origin) // _LADDER[self._step]
        succeeded_before, failed_before = self._counts.get(bucket, (0, 0))
        self._counts[bucket] = succeeded_before + (not failed), failed_before + failed
        while len(self._counts) > _KEPT:
            self._step += 1
            self._counts = _merged(self._counts.items(), _LADDER[self._step] // _LADDER[self._step - 1])

    def view(self) -> TimelineView | None:
        """The timeline to draw; None without an item."""
        if self.first is None:
            return None
        fine, offset = _LADDER[self._step], self._origin - self.first
        periods = split_at_pauses(sorted(self._counts), fine / 1000)
        ends = [(part[-1] + 1) * fine + offset for part in periods[:-1]] + [self.last - self.first]
        starts = [0] + [part[0] * fine + offset for part in periods[1:]]
        length = sum(ends) - sum(starts)
        width = bar_width(length, fine)
        drawn = []
        for part, start, end in zip(periods, starts, ends, strict=True):
            counts = _merged(((bucket, self._counts[bucket]) for bucket in part), width // fine)
            bars = tuple(Bar(bucket * width + offset, *counted) for bucket, counted in counts.items())
            drawn.append(ActivePeriod(start, end, bars))
        return TimelineView(width, tuple(drawn))


def _merged(counts: Iterable[tuple[int, tuple[int, int]]], neighbours: int) -> dict[int, tuple[int, int]]:
    """The counts in buckets that are wider by a factor."""
    merged: dict[int, tuple[int, int]] = {}
    for bucket, (succeeded, failed) in counts:
        before = merged.get(bucket // neighbours, (0, 0))
        merged[bucket // neighbours] = before[0] + succeeded, before[1] + failed
    return merged
