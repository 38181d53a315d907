"""A rate that changes over time, and the arrivals of a Poisson process with that rate."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs

from headrace.testing.simulation.units import rate, seconds


@attrs.frozen
class RateProfile:
    """A rate that changes linearly between points.

    Before the first and after the last point the rate is constant. Two points with the same time are a step.

    Args:
        points: Pairs of time, in seconds, and rate per second, in order.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, time: float) -> float:
        """The rate at a time."""
        after = bisect_right(self.points, time, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        if after == len(self.points):
            return self.points[-1][1]
        (begin, low), (end, high) = self.points[after - 1], self.points[after]
        return low + (high - low) * (time - begin) / (end - begin)

    @property
    def highest(self) -> float:
        """The highest rate."""
        return max(rate for _, rate in self.points)

    def arrivals(self, rng: random.Random, until: float, divided_by: float) -> Iterator[float]:
        """The arrival times of calls, in order: a Poisson process with this rate divided by ``divided_by``.

        It uses thinning (Lewis and Shedler, 1979): arrivals are drawn at the highest rate, and each is kept
        with the probability of its current rate divided by the highest rate.
        """
        highest = self.highest / divided_by
        steady = all(rate == self.highest for _, rate in self.points)
        time = rng.expovariate(highest)
        while time < until:
            if steady or rng.random() * self.highest < self.at(time):
                yield time
            time += rng.expovariate(highest)


def parse_rate_profile(raw: Any) -> RateProfile:
    """Read a rate, or points like ``[[0, 100], ["10min", "500/s"]]``; raises ValueError."""
    if not isinstance(raw, list):
        points: tuple[tuple[float, float], ...] = ((0.0, rate(raw)),)
    else:
        if not raw or not all(isinstance(point, list) and len(point) == 2 for point in raw):
            raise ValueError("must be a rate, or points like [[0, 100], ['10min', 500]]")
        points = tuple((seconds(time), rate(value)) for time, value in raw)
        if any(later[0] < earlier[0] for earlier, later in pairwise(points)):
            raise ValueError("the times of its points must be in order")
    if not any(value for _, value in points):
        raise ValueError("at least one rate must be above 0")
    return RateProfile(points)
