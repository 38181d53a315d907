"""When a call may go: the generic cell rate algorithm (GCRA) as virtual scheduling; no clock, no I/O.

ATM Forum, Traffic Management Specification 4.0, section 4.4.3: each limit has one number, the *theoretical
arrival time* (TAT) at which the next cell would arrive if all arrived evenly. A call of weight ``w`` (``w`` =
seconds that the limit needs for it) conforms at ``t`` if

    TAT + w - t  ≤  max(burst, w)        and then        TAT = max(TAT, t) + w

So ``burst`` seconds' worth may go at once. A larger call goes when nothing is owed. Over any ``T`` seconds,
at most ``T + burst`` seconds' worth goes.

There are two of these numbers, for requests and for tokens. A call over the limit is not rejected but gets a
reserved slot: the first time at which it conforms to both, up to a horizon. Later calls queue behind it.

``exchange.lua`` does the same within Redis, for all processes. This module serves one process while Redis is
unavailable, and the tests compare the script with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class GcraLimits:
    """Seconds per request and seconds per token (0: no such limit), and the burst size in seconds' worth."""

    interval: float = 0.0
    per_token: float = 0.0
    burst: float = 1.0

    @classmethod
    def per_minute(cls, requests: float | None, tokens: float | None, burst: float) -> GcraLimits:
        """Return limits from requests and tokens per minute, None for no limit."""
        return cls(60 / requests if requests else 0.0, 60 / tokens if tokens else 0.0, burst)

    @property
    def none(self) -> bool:
        """Whether nothing is limited."""
        return not self.interval and not self.per_token

    def share(self, members: int) -> GcraLimits:
        """Return an equal share for one of ``members``, including the burst."""
        return GcraLimits(self.interval * members, self.per_token * members, self.burst)


@attrs.define
class GcraSchedule:
    """The bookings so far: the theoretical arrival times of requests and tokens, and the end of a pause."""

    limits: GcraLimits
    requests_tat: float = 0.0
    tokens_tat: float = 0.0
    paused_until: float = 0.0

    @classmethod
    def without_burst(cls, limits: GcraLimits, now: float) -> GcraSchedule:
        """Return a schedule that starts as if the burst had just been used."""
        return cls(limits, now + max(limits.burst - limits.interval, 0.0), now + limits.burst)

    def pause(self, now: float, seconds: float) -> None:
        """Book no slot for ``seconds``, and allow no burst afterwards; a longer pause stays."""
        if now + seconds > self.paused_until:
            self.paused_until = now + seconds
            after = self.paused_until + max(self.limits.burst - self.limits.interval, 0.0)
            self.requests_tat = max(self.requests_tat, after)

    def refund(self, requests: int, tokens: int) -> None:
        """Return bookings that were not used; negative numbers take more than was booked."""
        self.requests_tat -= requests * self.limits.interval
        self.tokens_tat -= tokens * self.limits.per_token

    def slot(self, now: float, tokens: int) -> float:
        """Return the first time at which a call with ``tokens`` conforms."""
        limits, slot, cost = self.limits, max(now, self.paused_until), tokens * self.limits.per_token
        if limits.interval:
            slot = max(slot, self.requests_tat + limits.interval - max(limits.burst, limits.interval))
        if cost:
            slot = max(slot, self.tokens_tat + cost - max(limits.burst, cost))
        return slot

    def book(self, now: float, tokens: int, horizon: float) -> float | None:
        """Book that time and return it; None if it is more than ``horizon`` ahead, and nothing is booked."""
        slot = self.slot(now, tokens)
        if slot > now + horizon:
            return None
        self.requests_tat = max(self.requests_tat, slot) + self.limits.interval
        self.tokens_tat = max(self.tokens_tat, slot) + tokens * self.limits.per_token
        return slot

    def book_all(self, now: float, tokens: Iterable[int], horizon: float) -> tuple[tuple[float, ...], float]:
        """Book calls with these ``tokens``, in order, until one is more than ``horizon`` ahead.

        Returns:
            The seconds until the slot of each booked call, and the seconds until the first call that was not
            booked may be booked (0 if all were).
        """
        slots = list[float]()
        for each in tokens:
            slot = self.book(now, each, horizon)
            if slot is None:
                return tuple(slots), self.slot(now, each) - now - horizon
            slots.append(slot - now)
        return tuple(slots), 0.0
