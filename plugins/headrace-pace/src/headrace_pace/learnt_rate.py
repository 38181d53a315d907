"""A rate that no header reports: found by reaching the limit, and kept just below it.

When the endpoint rejects a call, its limit is used up, whether it is a bucket or a window. So the attempts
accepted between two rejections are those refilled between them, and the limit is that number divided by the
seconds. Within one burst of rejections this figure is rough, because the time is short. It is better between
two separate times at which the limit was reached. Until the limit is reached for the first time, the attempts
accepted in the last minute count as a minute's worth, because providers limit per minute. If the limit is for
a shorter period, this is too low, and is soon raised.

The rate is set to `MARGIN` of that. It is held for `HOLD` seconds, and for twice as long each time that the
same limit is found again. Then it grows: slowly, by `GROWTH` per second, and faster the longer nothing is
rejected, because the limit may have changed (the same idea as in CUBIC, RFC 9438). A rate that was only
guessed grows by `SEARCH_GROWTH` per second at once. The rate grows only while calls wait for it. It is
forgotten when no call had to wait for `FORGET_AFTER` seconds.
"""

from __future__ import annotations

from headrace_pace.token_bucket import TokenBucket

FIRST_MARGIN, MARGIN = 0.9, 0.95
HOLD, MAX_HOLD = 30.0, 120.0
GROWTH, MAX_GROWTH, DOUBLING_TIME = 0.01, 0.25, 15.0
"""The growth per second, its maximum, and the seconds in which it doubles."""
SEARCH_GROWTH = 0.3
FORGET_AFTER = 300.0
_BURST = 0.1
"""Burst size, as seconds' worth of the rate."""
_TOLERANCE = 0.2
_MINUTE = 60.0
_MIN_ACCEPTED, _MIN_SECONDS = 10, 5.0
"""Attempts accepted between rejections, or seconds between them, that are enough to compute a rate."""
_INITIAL_RATE, _MIN_RATE = 1.0, 1 / 60
"""Attempts per second: the start of the search for an unknown rate, and the lowest rate."""


class LearntRate:
    """The rate of one model at one endpoint; ``bucket`` is None while no rate is known.

    ``accepted`` arguments count the attempts accepted since the start.
    """

    __slots__ = (
        "_before",
        "_grown_at",
        "_hold",
        "_last_delay_at",
        "_mark",
        "_quiet_until",
        "_rate",
        "_searching",
        "bucket",
    )

    def __init__(self, now: float) -> None:
        self.bucket: TokenBucket | None = None
        # When the limit was reached (time, attempts accepted by then, True), and the time before that. At the
        # beginning nothing is used (False).
        self._mark = self._before = (now, 0, False)
        self._last_delay_at = self._grown_at = self._quiet_until = now
        self._hold = HOLD
        self._rate = 0.0
        self._searching = False

    def limit_reached(self, now: float, accepted: int, lately: int, seconds: float) -> bool:
        """Record that a limit was reached; return whether its rate is now known. If not, the search begins.

        Args:
            now: The current time in seconds.
            accepted: Attempts accepted since the start.
            lately: Attempts accepted during the rejections.
            seconds: The duration of the rejections.
        """
        rates = [lately / seconds] if lately >= _MIN_ACCEPTED else []
        between = self._rate_since_mark(now, accepted)
        if between is not None:
            rates.append(between)
        if not rates:
            self._search(now, now, accepted, lately / seconds)
            return False
        rate, margin = max(rates), FIRST_MARGIN
        if self.bucket is not None and not self._searching:
            rate, margin = min(rate, self.bucket.rate), MARGIN
        self._hold_rate(now, now, accepted, rate * margin)
        return True

    def blocked(self, now: float, until: float, accepted: int) -> None:
        """Record that the endpoint accepts nothing, at least until ``until``."""
        rate = self._rate_since_mark(now, accepted)
        if rate is None:
            self._search(now, until, accepted, _INITIAL_RATE)
        else:
            self._hold_rate(now, until, accepted, rate * MARGIN)

    def _rate_since_mark(self, now: float, accepted: int) -> float | None:
        """Return the attempts accepted per second since the last mark, None if that is too short ago."""
        since, before, used_up = self._mark_for(now)
        return (accepted - before) / (now - since) if used_up and now - since >= _MIN_SECONDS else None

    def _mark_for(self, now: float) -> tuple[float, int, bool]:
        """Return the mark to measure from: the one before, if the last one belongs to the same rejections."""
        return self._mark if now - self._mark[0] >= _MIN_SECONDS else self._before

    def _hold_rate(self, now: float, until: float, accepted: int, rate: float) -> None:
        """Set a known rate and hold it; twice as long if it is about the same as the last one."""
        same = abs(rate - self._rate) < _TOLERANCE * rate
        self._hold = min(2 * self._hold, MAX_HOLD) if same else HOLD
        self._rate, self._searching = rate, False
        self._set_rate(now, until, accepted, rate, self._hold)

    def _search(self, now: float, until: float, accepted: int, least: float) -> None:
        """Set a guessed rate that grows at once."""
        since, before, used_up = self._mark_for(now)
        rate = MARGIN * (accepted - before) / max(now - since, _MIN_SECONDS if used_up else _MINUTE)
        self._searching = True
        self._set_rate(now, until, accepted, max(rate, least), 0.0)

    def clear(self) -> None:
        """Forget the rate."""
        self.bucket = None
        self._hold, self._rate = HOLD, 0.0

    def delay(self, now: float) -> float:
        """Return the seconds until a call may go; 0 for at once."""
        if self.bucket is None:
            return 0.0
        delay = self.bucket.delay(now, 1.0)
        if delay:
            self._last_delay_at = now
        return delay

    def delay_behind(self, now: float) -> float:
        """Return the same for a call that comes after all reservations."""
        if self.bucket is None:
            return 0.0
        return max(self.delay(now), self.bucket.delay_behind(now, 1.0))

    def take(self, now: float) -> bool:
        """Count a call that is sent; return False if the rate can be forgotten: no call waited for long."""
        bucket = self.bucket
        if bucket is None:
            return True
        bucket.take(now, 1.0)
        since_delay = now - self._last_delay_at
        passed, self._grown_at = now - max(self._grown_at, self._quiet_until), now
        if passed > 0 and since_delay < 1.0 + 1.0 / bucket.rate:
            slow = GROWTH * 2 ** min((now - self._quiet_until) / DOUBLING_TIME, 10.0)
            growth = SEARCH_GROWTH if self._searching else min(slow, MAX_GROWTH)
            rate = bucket.rate * (1 + growth) ** min(passed, 1.0)
            bucket.change(now, rate, _capacity(rate))
        return since_delay <= FORGET_AFTER

    def _set_rate(self, now: float, until: float, accepted: int, rate: float, hold: float) -> None:
        """Set the rate from ``until`` on, and do not let it grow for ``hold`` seconds."""
        if now - self._mark[0] >= _MIN_SECONDS:
            self._before, self._mark = self._mark, (now, accepted, True)
        self._last_delay_at = self._grown_at = now
        self._quiet_until = until + hold
        rate = max(rate, _MIN_RATE)
        if self.bucket is None:
            self.bucket = TokenBucket(rate, _capacity(rate), now)
        else:
            self.bucket.change(now, rate, _capacity(rate))
        if until > now:
            self.bucket.drain(now, until, 1.0)  # one call, as a probe


def _capacity(rate: float) -> float:
    """Return the bucket's capacity for a rate: one call at least."""
    return max(1.0, rate * _BURST)
