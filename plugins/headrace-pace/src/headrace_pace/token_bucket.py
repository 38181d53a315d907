"""A token bucket whose level may be negative; later calls wait until the debt is refilled.

If amounts are taken one at a time and none is larger than ``capacity``, then any t seconds see at most
``capacity + rate * t``. An amount larger than the bucket passes when the bucket is full, and leaves a debt.

An amount can be *reserved* for a while before it is taken or released. For later calls a reservation counts
as taken. It ends when the bucket would be full even without it: so old reservations delay no call, and a late
release does not fill the bucket again.
"""

from __future__ import annotations

EPSILON = 1e-7
"""Seconds that count as no delay, because sums of floats are slightly too small."""


class TokenBucket:
    """Fills at ``rate`` per second up to ``capacity``; ``now`` is on a clock that never goes back."""

    __slots__ = ("_at", "_level", "_reserved", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate: float = rate
        self.capacity: float = capacity
        self._level = capacity
        self._at = now
        self._reserved = 0.0

    def level(self, now: float) -> float:
        """Return the level; it is negative for a debt."""
        if now <= self._at:
            return self._level
        return min(self.capacity, self._level + (now - self._at) * self.rate)

    def available(self, now: float) -> float:
        """Return the level less what is reserved; it is negative for a debt."""
        return self.level(now) - self._reserved_at(now)

    def delay(self, now: float, amount: float) -> float:
        """Return the seconds until ``amount`` may be taken, 0 for at once; reservations are ignored."""
        return self._delay_until(now, amount if amount < self.capacity else self.capacity)

    def delay_behind(self, now: float, amount: float) -> float:
        """Return the same for a call that comes after all reservations."""
        return self.delay_until(now, min(amount, self.capacity))

    def delay_until(self, now: float, level: float) -> float:
        """Return the seconds until ``level`` is available beyond reservations, ignoring ``capacity``."""
        return self._delay_until(now, level + self._reserved_at(now))

    def _delay_until(self, now: float, level: float) -> float:
        """Return the seconds until the bucket has ``level``, ignoring ``capacity`` and reservations."""
        short = level - self.level(now)
        if short <= self.rate * EPSILON:
            return 0.0
        return max(0.0, self._at - now) + short / self.rate

    def take(self, now: float, amount: float) -> None:
        """Take ``amount``, even if it is not available; a negative amount is returned."""
        if self._reserved:
            self._reserved = self._reserved_at(now)
        level = self.level(now) - amount
        self._level = level if level < self.capacity else self.capacity
        if now > self._at:
            self._at = now

    def reserve(self, now: float, amount: float) -> None:
        """Reserve ``amount`` until it is released, even if it is not available."""
        self.take(now, 0.0)
        self._reserved += amount

    def release(self, now: float, amount: float) -> None:
        """End a reservation of ``amount``."""
        self.take(now, 0.0)
        self._reserved = max(0.0, self._reserved - amount)

    def _reserved_at(self, now: float) -> float:
        """Return what is still reserved."""
        if not self._reserved or now <= self._at:
            return self._reserved
        beyond = self._level + (now - self._at) * self.rate - self.capacity
        return self._reserved if beyond <= 0 else max(0.0, self._reserved - beyond)

    def lower(self, now: float, level: float) -> None:
        """Lower the level to at most ``level``."""
        self.take(now, max(0.0, self.level(now) - level))

    def drain(self, now: float, until: float, level: float = 0.0) -> None:
        """Lower the level to at most ``level``, and start to fill at ``until``."""
        self.lower(now, level)
        self._at = max(self._at, until)

    def change(self, now: float, rate: float, capacity: float) -> None:
        """Change the rate and the capacity from now on."""
        self.take(now, 0.0)
        self.rate, self.capacity = rate, capacity
        self._level = min(self._level, capacity)
