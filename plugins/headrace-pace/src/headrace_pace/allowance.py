"""How many requests, or how many tokens, one model at one endpoint allows: as set, or as answers say.

Theory of operation. Answers say ``limit``, ``remaining`` and ``reset``, and few how long the time is that the
limit is for: of one provider a minute, of another a day, of a third a second. There are two kinds:

    token bucket    full again in ``reset`` = (limit - remaining) · period / limit
    fixed window    ``remaining`` is ``limit`` again when the window is over, in ``reset``

Of both, ``reset`` is never longer than the period, and comes near it as the limit is used up. So the longest
``reset`` that was said is taken for the period. That is too short at first, and the rate too high, while
little of the limit is used and nothing is at risk; it comes right as more is used. While half of the limit is
used, ``reset * limit / used`` is taken: of a bucket it is the period, of a window at most twice the period,
and for one window at most. Another limit begins anew.

``remaining`` only ever lowers what is taken to be there. It is as of some moment between the sending and
the answer: calls were sent since the sending that it may not count, and what was refilled since, it may not
count either. So from it goes what the calls sent since took beyond the refill, and a twentieth of the limit,
for others who use the same account and for what is on its way. Of what is on its way, some may have been
refused, which took nothing; no endpoint keeps debts, so no more is taken to be gone than there was.
"""

from __future__ import annotations

from headrace_pace.bucket import Bucket
from headrace_pace.headers import Said

_MINUTE = 60.0
_RESERVE = 0.05


class Allowance:
    """A bucket of what is allowed; ``bucket`` is None while nothing is known of a limit.

    ``per_minute``: as set, None: learnt from answers. Of a limit that was set, ``burst`` seconds' worth may
    go at once, but always ``least``; of a learnt one, all that remains.
    """

    __slots__ = ("_longest", "_reckoned", "_reckoned_until", "_set", "bucket")

    def __init__(self, per_minute: float | None, burst: float, least: float, now: float) -> None:
        self.bucket: Bucket | None = None
        self._set = per_minute is not None
        self._longest = self._reckoned = self._reckoned_until = 0.0
        if per_minute is not None:
            rate = per_minute / _MINUTE
            self.bucket = Bucket(rate, max(rate * burst, least), now)

    def hear(self, said: Said, now: float, elapsed: float, taken: float) -> None:
        """Take account of what an answer said whose call began ``elapsed`` seconds ago.

        ``taken``: what calls that began after it have taken since.
        """
        limit, remaining, reset = said.limit, said.remaining, said.reset
        used = 0.0 if limit is None or remaining is None else max(0.0, limit - remaining)
        if limit is not None and not self._set:
            self._learn(limit, used, reset, said.period, now)
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
        if self.bucket is not None and self.bucket.capacity != limit:
            self._longest = self._reckoned = 0.0
        if reset:
            self._longest = max(self._longest, reset)
            if 2 * used >= limit:
                self._reckoned, self._reckoned_until = reset * limit / used, now + reset
        if now >= self._reckoned_until:
            self._reckoned = 0.0
        rate = limit / (period or max(self._longest, self._reckoned) or _MINUTE)
        if self.bucket is None:
            self.bucket = Bucket(rate, limit, now)
        elif (rate, limit) != (self.bucket.rate, self.bucket.capacity):
            self.bucket.change(now, rate, limit)
