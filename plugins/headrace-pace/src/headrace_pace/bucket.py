"""A token bucket that may owe: what is taken and not there is waited off by those who come later.

Of what is taken one at a time and is no larger than ``capacity``, any t seconds see at most
``capacity + rate * t``. What is larger than the bucket passes when that is full, and is owed for.
"""

from __future__ import annotations

INSTANT = 1e-7
"""Seconds that are no wait: a clock's sums of floats come up short of the moment that was waited for."""


class Bucket:
    """Fills at ``rate`` a second up to ``capacity``; ``now`` is on a clock that never goes back."""

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        """What is there; less than 0 is owed."""
        if now <= self._at:
            return self._level
        return min(self.capacity, self._level + (now - self._at) * self.rate)

    def wait(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` may be taken, 0 for at once."""
        return self.until(now, min(amount, self.capacity))

    def until(self, now: float, level: float) -> float:
        """Seconds until so much would be there if there were no ``capacity``; 0 where it is."""
        short = level - self.level(now)
        if short <= self.rate * INSTANT:
            return 0.0
        return max(0.0, self._at - now) + short / self.rate

    def take(self, now: float, amount: float) -> None:
        """Take ``amount``, there or not; of less than 0, give it back."""
        self._level = min(self.capacity, self.level(now) - amount)
        self._at = max(self._at, now)

    def lower(self, now: float, level: float) -> None:
        """Have no more than ``level``."""
        self.take(now, max(0.0, self.level(now) - level))

    def drain(self, now: float, until: float, level: float = 0.0) -> None:
        """Be empty, or have no more than ``level``, and begin to fill at ``until``."""
        self.lower(now, level)
        self._at = max(self._at, until)

    def change(self, now: float, rate: float, capacity: float) -> None:
        """Fill at another rate from now on, up to another capacity."""
        self.take(now, 0.0)
        self.rate, self.capacity = rate, capacity
        self._level = min(self._level, capacity)
