"""Counts over time, in buckets that are merged as they become too many.

The width of a bucket is a step of a ladder on which each step is a multiple of the one before, so that
neighbours merge exactly: what was counted at one width is what would have been counted at the next. Only
buckets with something in them are kept, so that a run which was resumed after a week is counted as finely as
one that went on, and its pause costs nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import pairwise

import attrs

_SECOND = 1000
_HOUR = 3600 * _SECOND
_LADDER = [
    *(1, 5, 10, 50, 100, 500),
    *(seconds * _SECOND for seconds in (1, 5, 10, 30, 60, 300, 600, 1800)),
    *(hours * _HOUR for hours in (1, 2, 6, 12, 24, 168, 840, 8400, 84_000, 840_000, 8_400_000)),
]
"""Widths of what is counted, in ms. The last is longer than what a clock shows."""

_WIDTHS = [
    *(10, 20, 50, 100, 200, 500),
    *(seconds * _SECOND for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12, 24, 48, 168, 336, 840, 4200)),
]
"""Widths of what is drawn, in ms."""

_KEPT = 4096
_MOST_BARS = 120
_MOST_PAUSES = 20
_SHORTEST_PAUSE = 60 * _SECOND
_UNUSUAL = 20
"""A pause is so many times longer than the usual wait for the next item."""

_NOTICEABLE = 10
"""A pause is longer than the rest of the run divided by this; what is shorter does no harm to a picture."""


@attrs.frozen
class Bar:
    """What was counted in one bucket, which begins at ``start``."""

    start: int
    succeeded: int
    failed: int


@attrs.frozen
class Stretch:
    """A time without a pause, from ``start`` to ``end``; of its bars, those with something in them."""

    start: int
    end: int
    bars: tuple[Bar, ...]


@attrs.frozen
class Course:
    """The stretches of a run, in bars of one width. Times are ms since the first call."""

    width: int
    stretches: tuple[Stretch, ...]

    @property
    def pauses(self) -> list[int]:
        """How long each pause between two stretches is."""
        return [self.stretches[n + 1].start - each.end for n, each in enumerate(self.stretches[:-1])]

    @property
    def active(self) -> int:
        """From the first call to the last item, less the pauses."""
        return self.stretches[-1].end - sum(self.pauses)


class Timeline:
    """When items were done, in memory that does not grow with them. Times are Unix ms."""

    def __init__(self) -> None:
        self._step = 0
        self._counts: dict[int, tuple[int, int]] = {}
        self.first: int | None = None
        self.last: int = 0

    def add(self, completed_at: float, elapsed: float, *, failed: bool) -> None:
        """Count an item: when it was done, in Unix seconds, and how many seconds it took."""
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

    def course(self) -> Course | None:
        """What there is to draw; None where no item was counted."""
        if self.first is None:
            return None
        fine, offset = _LADDER[self._step], self._origin - self.first
        stretches = _split(sorted(self._counts), fine)
        ends = [(part[-1] + 1) * fine + offset for part in stretches[:-1]] + [self.last - self.first]
        starts = [0] + [part[0] * fine + offset for part in stretches[1:]]
        length = sum(ends) - sum(starts)
        widths = (width for width in [*_WIDTHS, *_LADDER] if width % fine == 0)
        width = next(width for width in widths if length <= width * _MOST_BARS)
        drawn = []
        for part, start, end in zip(stretches, starts, ends, strict=True):
            counts = _merged(((bucket, self._counts[bucket]) for bucket in part), width // fine)
            bars = tuple(Bar(bucket * width + offset, *counted) for bucket, counted in counts.items())
            drawn.append(Stretch(start, end, bars))
        return Course(width, tuple(drawn))


def _merged(counts: Iterable[tuple[int, tuple[int, int]]], neighbours: int) -> dict[int, tuple[int, int]]:
    """The counts in buckets that are so many times wider."""
    merged: dict[int, tuple[int, int]] = {}
    for bucket, (succeeded, failed) in counts:
        before = merged.get(bucket // neighbours, (0, 0))
        merged[bucket // neighbours] = before[0] + succeeded, before[1] + failed
    return merged


def _split(buckets: list[int], width: int) -> list[list[int]]:
    """The buckets, which are in order, in parts between which there are pauses."""
    waits = {bucket: (bucket - before) * width for before, bucket in pairwise(buckets)}
    pauses = _pauses(waits)
    parts: list[list[int]] = [[]]
    for bucket in buckets:
        if bucket in pauses:
            parts.append([])
        parts[-1].append(bucket)
    return parts


def _pauses(waits: dict[int, int]) -> set[int]:
    """Which of the waits in ms are pauses: long ones, by themselves and beside all that is no pause."""
    if not waits:
        return set()
    least = max(_SHORTEST_PAUSE, _UNUSUAL * statistics.median(waits.values()))
    long = sorted((wait, bucket) for bucket, wait in waits.items() if wait >= least)
    rest = sum(waits.values()) - sum(wait for wait, _ in long)
    for number, (wait, _) in enumerate(long):
        if wait * _NOTICEABLE > rest:
            return {bucket for _, bucket in long[number:][-_MOST_PAUSES:]}
        rest += wait
    return set()
