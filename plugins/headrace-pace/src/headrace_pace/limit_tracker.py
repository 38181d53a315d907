"""One limit of requests or tokens for a model at an endpoint: as set, or learnt from response headers.

Responses report ``limit``, ``remaining`` and ``reset``, but rarely the period of the limit: a minute at one
provider, a day at another, a second at a third. There are two kinds of limits:

    token bucket    full again in ``reset`` = (limit - remaining) · period / limit
    fixed window    ``remaining`` is ``limit`` again at the end of the window, in ``reset``

In both, ``reset`` is never longer than the period, and approaches it as the limit is used up. So the longest
``reset`` seen is taken as the period. At first this is too short and the rate too high. That does no harm,
because little of the limit is used by then, and it corrects itself as more is used. While half of the limit
is used, ``reset * limit / used`` is taken instead: for a bucket this is the period; for a window it is at
most twice the period, and for one window at most. A changed limit starts again from the beginning.

``remaining`` only lowers the level of the bucket. It was true at some moment between sending and response. It
may not include later calls and refills. So two amounts are subtracted: what later calls took beyond the
refill, and a twentieth of the limit, for other users of the account and for calls in flight. Some calls in
flight may have been rejected, which took nothing. As no endpoint keeps debts, the level of ``remaining`` is
not lowered below zero for them.
"""

from __future__ import annotations

from headrace_pace.rate_limit_headers import RateLimitInfo
from headrace_pace.token_bucket import TokenBucket

_MINUTE = 60.0
_RESERVE = 0.05


class LimitTracker:
    """The token bucket of one limit; ``bucket`` is None while no limit is known.

    Args:
        per_minute: The limit as set; None: learnt from responses.
        burst: Burst size, as seconds' worth of a limit that is set. A learnt limit has no such bound.
        least: Minimum capacity of the bucket for any ``burst``.
        now: The current time in seconds.
    """

    __slots__ = ("_estimate", "_estimate_until", "_is_set", "_longest_reset", "bucket")

    def __init__(self, per_minute: float | None, burst: float, least: float, now: float) -> None:
        self.bucket: TokenBucket | None = None
        self._is_set = False
        self._longest_reset = self._estimate = self._estimate_until = 0.0
        self.set_limit(per_minute, burst, least, now)

    def set_limit(self, per_minute: float | None, burst: float, least: float, now: float) -> None:
        """Change the limit; see the arguments of the class. One that was learnt stays if None is set."""
        if per_minute is None:
            if self._is_set:
                self._is_set, self.bucket = False, None
            return
        rate = per_minute / _MINUTE
        capacity = max(rate * burst, least)
        if self.bucket is None or not self._is_set:
            self._is_set, self.bucket = True, TokenBucket(rate, capacity, now)
        else:
            self.bucket.change(now, rate, capacity)

    def update(self, info: RateLimitInfo, now: float, elapsed: float, taken: float) -> None:
        """Apply what a response reported.

        Args:
            info: What the response reported of this limit.
            now: The current time in seconds.
            elapsed: Seconds since the call of that response began.
            taken: The amount that later calls have taken.
        """
        limit, remaining, reset = info.limit, info.remaining, info.reset
        used = 0.0 if limit is None or remaining is None else max(0.0, limit - remaining)
        if limit is not None and not self._is_set:
            self._learn(limit, used, reset, info.period, now)
        bucket = self.bucket
        if bucket is None or remaining is None:
            return
        refill = used / reset if used and reset else bucket.rate
        if reset and elapsed > reset:
            refill = max(refill, bucket.rate)
        beyond = max(0.0, taken - refill * elapsed)
        bucket.lower(now, max(0.0, remaining - beyond) - _RESERVE * (limit or 0.0))

    def _learn(
        self, limit: float, used: float, reset: float | None, period: float | None, now: float
    ) -> None:
        """Set the bucket's rate and capacity from a reported limit."""
        if self.bucket is not None and self.bucket.capacity != limit:
            self._longest_reset = self._estimate = 0.0
        if reset:
            self._longest_reset = max(self._longest_reset, reset)
            if 2 * used >= limit:
                self._estimate, self._estimate_until = reset * limit / used, now + reset
        if now >= self._estimate_until:
            self._estimate = 0.0
        rate = limit / (period or max(self._longest_reset, self._estimate) or _MINUTE)
        if self.bucket is None:
            self.bucket = TokenBucket(rate, limit, now)
        elif (rate, limit) != (self.bucket.rate, self.bucket.capacity):
            self.bucket.change(now, rate, limit)
