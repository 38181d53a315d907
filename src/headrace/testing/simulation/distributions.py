"""Distributions of durations and sizes, and their form in scenario files."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from headrace._support.text import nearest

_Z95 = 1.6448536269514722
"""The 95th percentile of the standard normal distribution."""


class Distribution(Protocol):
    """A distribution of random numbers."""

    @property
    def mean(self) -> float: ...
    def draw(self, rng: random.Random, /) -> float: ...


@attrs.frozen
class Fixed:
    """Always the same value.

    Args:
        value: The value.
    """

    value: float

    @property
    def mean(self) -> float:
        """The value."""
        return self.value

    def draw(self, rng: random.Random) -> float:
        """The value."""
        return self.value


@attrs.frozen
class Exponential:
    """The exponential distribution: many small values, few large ones.

    Args:
        mean: The mean.
    """

    mean: float

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return rng.expovariate(1.0) * self.mean


@attrs.frozen
class Lognormal:
    """The lognormal distribution: one peak and a long tail, like the answer times of models.

    Args:
        mean: The mean.
        p95: The 95th percentile.

    Raises:
        ValueError: No lognormal distribution has these values: p95 must be above the mean, and at most 3.86
            times as high.
    """

    mean: float
    p95: float
    _mu: float = attrs.field(init=False, repr=False)
    _sigma: float = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # ln(p95 / mean) = z sigma - sigma² / 2 has two solutions; the smaller one has the shorter tail.
        ratio = self.p95 / self.mean
        if not 1 < ratio <= math.exp(_Z95**2 / 2):
            raise ValueError("p95 must be above the mean, and at most 3.86 times as high")
        sigma = _Z95 - math.sqrt(max(0.0, _Z95**2 - 2 * math.log(ratio)))
        object.__setattr__(self, "_sigma", sigma)
        object.__setattr__(self, "_mu", math.log(self.mean) - sigma**2 / 2)

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return rng.lognormvariate(self._mu, self._sigma)


@attrs.frozen
class Uniform:
    """The uniform distribution.

    Args:
        least: The lowest value.
        most: The highest value.

    Raises:
        ValueError: ``most`` is below ``least``.
    """

    least: float
    most: float

    def __attrs_post_init__(self) -> None:
        if self.most < self.least:
            raise ValueError("most must not be below least")

    @property
    def mean(self) -> float:
        """The middle."""
        return (self.least + self.most) / 2

    def draw(self, rng: random.Random) -> float:
        """One number."""
        return rng.uniform(self.least, self.most)


KINDS: dict[str, tuple[type[Fixed | Exponential | Lognormal | Uniform], tuple[str, ...]]] = {
    "fixed": (Fixed, ("value",)),
    "exponential": (Exponential, ("mean",)),
    "lognormal": (Lognormal, ("mean", "p95")),
    "uniform": (Uniform, ("least", "most")),
}
"""For each kind in a scenario file: the class, and its keys."""


def read_distribution(raw: Any, number: Callable[[Any], float]) -> Distribution:
    """Read a distribution: a number, or a table like ``{kind = "lognormal", mean = 0.8, p95 = 2}``.

    ``number`` reads the numbers in it. Raises ValueError for an invalid distribution.
    """
    if not isinstance(raw, Mapping):
        return Fixed(number(raw))
    rest = dict(raw)
    name = rest.pop("kind", None)
    if name not in KINDS:
        raise ValueError(f"kind = {name!r}: {nearest(str(name), KINDS)}")
    kind, keys = KINDS[name]
    for key in rest:
        if key not in keys:
            raise ValueError(f"{name} has no {key!r}; {nearest(key, keys)}")
    for key in keys:
        if key not in rest:
            raise ValueError(f"{name} needs {key!r}")
    values = {key: number(value) for key, value in rest.items()}
    if kind is not Uniform and not all(value > 0 for value in values.values()):
        raise ValueError(f"the numbers of {name} must be above 0")
    return kind(**values)
