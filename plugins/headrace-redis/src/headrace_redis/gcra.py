"""When a call may go: the generic cell rate algorithm, as virtual scheduling, without clock, loop or I/O.

ATM Forum, Traffic Management Specification 4.0, section 4.4.3: of each limit one number is kept, the
*theoretical arrival time* at which the next cell would come if all came evenly. A call of the weight ``w``
(``w`` = seconds that the limit takes for it) conforms at ``t`` if

    TAT + w - t  ≤  max(burst, w)        and then        TAT = max(TAT, t) + w

So ``burst`` seconds' worth may go at once, a call larger than that goes when nothing is owed, and over any
``T`` seconds no more than ``T + burst`` seconds' worth goes.

There are two of these numbers, of requests and of tokens. A call is not refused but *booked*: it is told the
first moment at which it conforms to both, up to a horizon, and who asks next comes after it.

``exchange.lua`` does the same within Redis, for all processes; this is what one process does by itself while
Redis is away, and what the script is tested against.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class Limits:
    """Seconds a request and seconds a token (0: no such limit), and how many seconds' worth go at once."""

    interval: float = 0.0
    per_token: float = 0.0
    burst: float = 1.0

    @classmethod
    def a_minute(cls, requests: float | None, tokens: float | None, burst: float) -> Limits:
        """From so many requests and tokens a minute, None for no limit."""
        return cls(60 / requests if requests else 0.0, 60 / tokens if tokens else 0.0, burst)

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return not self.interval and not self.per_token

    def share(self, members: int) -> Limits:
        """What one of so many gets, the burst included."""
        return Limits(self.interval * members, self.per_token * members, self.burst)


@attrs.define
class Schedule:
    """What is booked: the theoretical arrival times of requests and tokens, and the end of a pause."""

    limits: Limits
    requests: float = 0.0
    tokens: float = 0.0
    paused: float = 0.0

    @classmethod
    def without_burst(cls, limits: Limits, now: float) -> Schedule:
        """One that begins as if the burst had just gone."""
        return cls(limits, now + max(limits.burst - limits.interval, 0.0), now + limits.burst)

    def pause(self, now: float, seconds: float) -> None:
        """Let nothing go for so long, and no burst after it; a longer pause stays."""
        if now + seconds > self.paused:
            self.paused = now + seconds
            after = self.paused + max(self.limits.burst - self.limits.interval, 0.0)
            self.requests = max(self.requests, after)

    def give_back(self, requests: int, tokens: int) -> None:
        """Take bookings back that were not used; below 0, take more than was booked."""
        self.requests -= requests * self.limits.interval
        self.tokens -= tokens * self.limits.per_token

    def slot(self, now: float, tokens: int) -> float:
        """The first moment at which a call of so many tokens conforms."""
        limits, slot, cost = self.limits, max(now, self.paused), tokens * self.limits.per_token
        if limits.interval:
            slot = max(slot, self.requests + limits.interval - max(limits.burst, limits.interval))
        if cost:
            slot = max(slot, self.tokens + cost - max(limits.burst, cost))
        return slot

    def book(self, now: float, tokens: int, horizon: float) -> float | None:
        """That moment, booked; None where it is more than ``horizon`` ahead, and then nothing is booked."""
        slot = self.slot(now, tokens)
        if slot > now + horizon:
            return None
        self.requests = max(self.requests, slot) + self.limits.interval
        self.tokens = max(self.tokens, slot) + tokens * self.limits.per_token
        return slot

    def book_all(self, now: float, asked: Iterable[int], horizon: float) -> tuple[tuple[float, ...], float]:
        """Book for calls of so many tokens, one after the other, until one is more than ``horizon`` ahead.

        How long it is until each one's moment, and how long until the first that was not booked may be, 0
        where all are.
        """
        slots = list[float]()
        for tokens in asked:
            slot = self.book(now, tokens, horizon)
            if slot is None:
                return tuple(slots), self.slot(now, tokens) - now - horizon
            slots.append(slot - now)
        return tuple(slots), 0.0
