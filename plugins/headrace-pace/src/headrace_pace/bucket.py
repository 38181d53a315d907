"""A token bucket that may owe: what is taken and not there is waited off by those who come later.

Of what is taken one at a time and is no larger than ``capacity``, any t seconds see at most
``capacity + rate * t``. What is larger than the bucket passes when that is full, and is owed for.

A part can be *reserved* for a while, before it is taken or released. Those who come later then find as much
less as if it had been taken. That lasts until the bucket would be full in either case: so reservations of
long ago keep nobody waiting, and one that is released late does not fill the bucket again.
"""

from __future__ import annotations

INSTANT = 1e-7
"""Seconds that are no wait: a clock's sums of floats come up short of the moment that was waited for."""


class Bucket:
    """Fills at ``rate`` a second up to ``capacity``; ``now`` is on a clock that never goes back."""

    __slots__ = ("_at", "_level", "_reserved", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._at = now
        self._reserved = 0.0

    def level(self, now: float) -> float:
        """What is there; less than 0 is owed."""
        if now <= self._at:
            return self._level
        return min(self.capacity, self._level + (now - self._at) * self.rate)

    def available(self, now: float) -> float:
        """What is there and not reserved; less than 0 is owed."""
        return self.level(now) - self._reserved_at(now)

    def wait(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` may be taken, 0 for at once; without regard to what is reserved."""
        return self._until(now, amount if amount < self.capacity else self.capacity)

    def wait_behind(self, now: float, amount: float) -> float:
        """The same for those who come after all that is reserved."""
        return self.until(now, min(amount, self.capacity))

    def until(self, now: float, level: float) -> float:
        """Seconds until so much would be there, besides what is reserved, if there were no ``capacity``."""
        return self._until(now, level + self._reserved_at(now))

    def _until(self, now: float, level: float) -> float:
        short = level - self.level(now)
        if short <= self.rate * INSTANT:
            return 0.0
        return max(0.0, self._at - now) + short / self.rate

    def take(self, now: float, amount: float) -> None:
        """Take ``amount``, there or not; of less than 0, give it back."""
        if self._reserved:
            self._reserved = self._reserved_at(now)
        level = self.level(now) - amount
        self._level = level if level < self.capacity else self.capacity
        if now > self._at:
            self._at = now

    def reserve(self, now: float, amount: float) -> None:
        """Reserve ``amount``, there or not, until it is released."""
        self.take(now, 0.0)
        self._reserved += amount

    def release(self, now: float, amount: float) -> None:
        """End a reservation of ``amount``."""
        self.take(now, 0.0)
        self._reserved = max(0.0, self._reserved - amount)

    def _reserved_at(self, now: float) -> float:
        if not self._reserved or now <= self._at:
            return self._reserved
        beyond = self._level + (now - self._at) * self.rate - self.capacity
        return self._reserved if beyond <= 0 else max(0.0, self._reserved - beyond)

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
