"""How many attempts a model at an endpoint gets at once: a limit that follows its replies, without I/O.

    signal         what happens
    -------------  ---------------------------------------------------------------------------------------
    rate limit     the limit is cut to ``cut`` of itself, and does not grow for ``cooldown`` seconds (or for
                   the Retry-After of that reply if it is longer); until then, it is not cut again
    failure (5xx)  nothing is cut; the limit does not grow for ``cooldown`` seconds
    success        counted if `MIN_USE` of the limit was in use; the limit grows at the end of a round

A *round* is as many counted successes as the limit is high, and lasts at least `MIN_ROUND` seconds. If all
tokens are in use, that is the time of one call, like the round trip of TCP. So growth depends neither on how
many calls wait nor on how many are answered per second, and its effect is visible before the next step.

The step of growth depends on the limit at the last cut:

    below it              one, as in TCP's congestion avoidance
    above, or no cut yet  ``growth`` of the limit, at least one

A refusal is much faster than an answer. So with a few tokens too many, one waiting call after the other would
be refused until the cooldown is over. During a cooldown, the token of a refused attempt is therefore
*withheld*: it comes back after `1 / RETURNED_PER_SUCCESS` successes. This is TCP's conservation of packets: a
new one goes in when an old one has left (Jacobson, 1988). It does not move the limit.

Growth by one makes clients that share an endpoint converge to equal shares. If both growth and cuts were
proportional, unequal shares would stay unequal (Chiu and Jain, 1989). Above the last cut nothing is known
about the endpoint, so it is explored in larger steps (as in CUBIC: RFC 9438).
"""

from __future__ import annotations

import math

import attrs

MIN_USE = 0.8
"""The share of the limit that must be in use for it to grow; below, a higher limit changes nothing."""

RETURNED_PER_SUCCESS = 0.25
"""Withheld tokens that come back per success: so at most one request in five is refused."""

MIN_ROUND = 1.0
"""Seconds; rates are limited per second or longer, so a shorter round shows nothing."""


@attrs.frozen(kw_only=True)
class LimitConfig:
    """How the limit starts and moves; see `headrace_adaptive.Adaptive`."""

    start: int
    least: int
    most: float
    cut: float
    growth: float
    cooldown: float


class LimitController:
    """One limit. ``now`` is in seconds on a clock that never goes back."""

    __slots__ = (
        "_cooldown_ends",
        "_limit",
        "_limit_at_cut",
        "_limit_before_test",
        "_round_starts",
        "_round_successes",
        "_withheld",
        "config",
    )

    def __init__(self, config: LimitConfig, now: float) -> None:
        self.config: LimitConfig = config
        self._limit = float(config.start)
        self._limit_at_cut = 0.0
        self._withheld = 0.0
        self._limit_before_test: float | None = None
        self._cooldown_ends = now
        self._start_round(now)

    @property
    def limit(self) -> int:
        """How many concurrent attempts the endpoint is assumed to allow."""
        return int(self._limit)

    @property
    def tokens(self) -> int:
        """How many attempts may be in flight now: the limit less the withheld tokens."""
        return self.limit - math.ceil(self._withheld)

    def record_success(self, now: float, in_use: int) -> bool:
        """Record a success with ``in_use`` tokens in use, its own included; return whether the limit grew."""
        if self._withheld:
            self._withheld = max(0.0, self._withheld - RETURNED_PER_SUCCESS)
        if now < self._round_starts or in_use < MIN_USE * self.limit:
            return False
        self._round_successes += 1
        if self._round_successes < self.limit or now < self._round_starts + MIN_ROUND:
            return False
        before = self.limit
        step = 1.0 if self._limit < self._limit_at_cut else max(1.0, self._limit * self.config.growth)
        self._limit = min(self._limit + step, self.config.most)
        self._start_round(now)
        return self.limit > before

    def record_rate_limit(self, now: float, retry_after: float | None) -> bool:
        """Record a reply that says the rate limit is reached; return whether the limit was cut."""
        if now < self._cooldown_ends:
            self._withheld = min(self._withheld + 1.0, self.limit - 1.0)
            return False
        return self._cut(now, retry_after)

    def record_failure(self, now: float) -> None:
        """Record a failure: it says nothing about the limit, but the limit must not grow now."""
        self._start_round(max(self._round_starts, now + self.config.cooldown))

    def cut_as_test(self, now: float, retry_after: float | None) -> None:
        """Cut below the present tokens, even in a cooldown, to test whether a limit causes the refusals."""
        if self._limit_before_test is None:
            self._limit_before_test = self._limit
        self._limit = max(self._limit - self._withheld, self.config.least)
        self._withheld = 0.0
        self._cut(now, retry_after)

    def confirm_cut(self) -> None:
        """A limit caused the refusals: keep the cut."""
        self._limit_before_test = None

    def undo_cut(self, now: float) -> None:
        """Chance caused the refusals: restore the limit from before the test."""
        if self._limit_before_test is not None:
            self._limit, self._limit_before_test = max(self._limit, self._limit_before_test), None
        self._withheld = 0.0
        self._cooldown_ends = now
        self._start_round(now)

    def _cut(self, now: float, retry_after: float | None) -> bool:
        """Cut the limit and start a cooldown; return whether the limit is lower."""
        before = self.limit
        self._limit_at_cut = self._limit
        self._cooldown_ends = now + max(self.config.cooldown, retry_after or 0.0)
        self._limit = max(self._limit * self.config.cut, self.config.least)
        self._withheld = max(0.0, self._withheld - (before - self.limit))
        self._start_round(self._cooldown_ends)
        return self.limit < before

    def _start_round(self, at: float) -> None:
        """Start a round; until ``at``, successes are not counted and the limit does not grow."""
        self._round_starts = at
        self._round_successes = 0
