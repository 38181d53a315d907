"""A rate that nobody said: found by running into a limit, and kept just below it.

At a refusal the endpoint's limit is used up, whether it is a bucket or a window. So what is accepted between
two refusals is what was filled up between them: the accepted attempts, divided by the seconds, are the limit.
That holds for the refusals of one moment, where the time is short and the figure rough, and better for those
of two times that the limit was found. Before it was found once, all that was accepted in the last minute is
taken for a minute's worth: providers limit by the minute, and where the limit is for less, that is too low
and soon raised.

The rate is then `MARGIN` of that. It stays there for `HOLD` seconds, twice as long each time that the limit
is found where it was, and then grows: slowly, by `GROWTH` a second, and the faster the longer nothing is
refused, as the limit may be another one by now (the same idea as CUBIC's, RFC 9438). A rate that was only
guessed grows by `SEARCH` a second at once. It grows only while calls wait for it, and is forgotten when for
`FORGOTTEN` seconds none has had to.
"""

from __future__ import annotations

from headrace_pace.bucket import Bucket

FIRST_MARGIN, MARGIN = 0.9, 0.95
HOLD, LONGEST_HOLD = 30.0, 120.0
GROWTH, FASTEST, DOUBLING = 0.01, 0.25, 15.0
"""The growth a second, and the seconds in which it doubles, up to the fastest."""
SEARCH = 0.3
FORGOTTEN = 300.0
_AT_ONCE = 0.1
"""Seconds' worth that may go at once."""
_SAME = 0.2
_MINUTE = 60.0
_COUNTS, _COMPLETE = 10, 5.0
"""What is accepted between refusals says a rate if it is so many, or in so many seconds, whatever it is."""
_BEGINNING, _LEAST = 1.0, 1 / 60
"""Attempts a second: where the search for an unknown rate begins, and what is always tried."""


class Learnt:
    """The rate of one lane; ``bucket`` is None while none is known. ``accepted``: since the start."""

    __slots__ = (
        "_before",
        "_bound_at",
        "_grown_at",
        "_hold",
        "_mark",
        "_quiet_until",
        "_searching",
        "_was",
        "bucket",
    )

    def __init__(self, now: float) -> None:
        self.bucket: Bucket | None = None
        # The moment when the limit was reached, and the one before; or the beginning, when nothing was used.
        self._mark = self._before = (now, 0, False)
        self._bound_at = self._grown_at = self._quiet_until = now
        self._hold = HOLD
        self._was = 0.0
        self._searching = False

    def found(self, now: float, accepted: int, lately: int, seconds: float) -> bool:
        """A limit is reached; ``lately`` were accepted in so many ``seconds`` while the refusals came.

        Returns whether that tells the limit. Where it does not, the search for it begins.
        """
        rates = [lately / seconds] if lately >= _COUNTS else []
        between = self._between(now, accepted)
        if between is not None:
            rates.append(between)
        if not rates:
            self._search(now, now, accepted, lately / seconds)
            return False
        rate, margin = max(rates), FIRST_MARGIN
        if self.bucket is not None and not self._searching:
            rate, margin = min(rate, self.bucket.rate), MARGIN
        self._keep(now, now, accepted, rate * margin)
        return True

    def stopped(self, now: float, until: float, accepted: int) -> None:
        """Nothing is let through, until some moment at least."""
        rate = self._between(now, accepted)
        if rate is None:
            self._search(now, until, accepted, _BEGINNING)
        else:
            self._keep(now, until, accepted, rate * MARGIN)

    def _between(self, now: float, accepted: int) -> float | None:
        """What was accepted a second since the limit was reached last, if that is long enough ago."""
        since, before, used_up = self._mark_for(now)
        return (accepted - before) / (now - since) if used_up and now - since >= _COMPLETE else None

    def _mark_for(self, now: float) -> tuple[float, int, bool]:
        """What was reached just now is the same as what is reached now."""
        return self._mark if now - self._mark[0] >= _COMPLETE else self._before

    def _keep(self, now: float, until: float, accepted: int, rate: float) -> None:
        same = abs(rate - self._was) < _SAME * rate
        self._hold = min(2 * self._hold, LONGEST_HOLD) if same else HOLD
        self._was, self._searching = rate, False
        self._go_at(now, until, accepted, rate, self._hold)

    def _search(self, now: float, until: float, accepted: int, least: float) -> None:
        since, before, used_up = self._mark_for(now)
        rate = MARGIN * (accepted - before) / max(now - since, _COMPLETE if used_up else _MINUTE)
        self._searching = True
        self._go_at(now, until, accepted, max(rate, least), 0.0)

    def lift(self) -> None:
        """No limit is known."""
        self.bucket = None
        self._hold, self._was = HOLD, 0.0

    def wait(self, now: float) -> float:
        """Seconds until a call may go; 0 for at once."""
        if self.bucket is None:
            return 0.0
        wait = self.bucket.wait(now, 1.0)
        if wait:
            self._bound_at = now
        return wait

    def wait_behind(self, now: float) -> float:
        """The same for those who come after all that is reserved."""
        if self.bucket is None:
            return 0.0
        return max(self.wait(now), self.bucket.wait_behind(now, 1.0))

    def take(self, now: float) -> bool:
        """A call goes; False where the rate had better be forgotten: nobody has had to wait for long."""
        bucket = self.bucket
        if bucket is None:
            return True
        bucket.take(now, 1.0)
        unbound = now - self._bound_at
        passed, self._grown_at = now - max(self._grown_at, self._quiet_until), now
        if passed > 0 and unbound < 1.0 + 1.0 / bucket.rate:
            slow = GROWTH * 2 ** min((now - self._quiet_until) / DOUBLING, 10.0)
            growth = SEARCH if self._searching else min(slow, FASTEST)
            rate = bucket.rate * (1 + growth) ** min(passed, 1.0)
            bucket.change(now, rate, _capacity(rate))
        return unbound <= FORGOTTEN

    def _go_at(self, now: float, until: float, accepted: int, rate: float, hold: float) -> None:
        """Go at a rate from ``until`` on, and do not grow for so long."""
        if now - self._mark[0] >= _COMPLETE:
            self._before, self._mark = self._mark, (now, accepted, True)
        self._bound_at = self._grown_at = now
        self._quiet_until = until + hold
        rate = max(rate, _LEAST)
        if self.bucket is None:
            self.bucket = Bucket(rate, _capacity(rate), now)
        else:
            self.bucket.change(now, rate, _capacity(rate))
        if until > now:
            self.bucket.drain(now, until, 1.0)  # for the first that goes, to see


def _capacity(rate: float) -> float:
    return max(1.0, rate * _AT_ONCE)
