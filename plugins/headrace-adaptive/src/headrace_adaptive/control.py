"""How many attempts a model at an endpoint gets at once: a limit that follows what it answers, without I/O.

    signal        what happens
    ------------  ----------------------------------------------------------------------------------------
    rate limited  the limit is cut to ``cut`` of itself, unless it was cut less than ``cooldown`` seconds
                  (or the Retry-After of that cut, where it is longer) ago; until then it does not grow either
    failed (5xx)  nothing is cut; the limit does not grow for ``cooldown`` seconds
    answered      counted, if at least `USED` of the limit was in use; at the end of a round the limit grows

A *round* is as many counted answers as the limit is high, and lasts at least `SHORTEST_ROUND` seconds.
With all tokens in use that is one call's time, the round trip of TCP: so growth depends neither on how many
calls wait nor on how many are answered in a second, and its effect is seen before the limit grows again.

How much it grows in a round depends on where it was when it was cut last:

    below that   by one, as TCP's congestion avoidance does
    above it     by ``growth`` of itself, by one at least; so too before the first cut

Refusals come at once, and answers take their time: with a few tokens too many, these would be refused one
call after the other until the cooldown is over. So in a cooldown the token of a refused attempt is
*withheld*, and comes back when `1 / GIVEN_BACK` calls were answered. TCP has it as the conservation of
packets: a new one goes in when an old one has left (Jacobson, 1988). The limit is not moved by that.

Growth by one is what makes clients that share an endpoint come to equal shares: were growth in proportion
everywhere, as cuts are, shares would stay as unequal as they were (Chiu and Jain, 1989). Above the last cut
nothing is known of the endpoint, and it is looked for in larger steps (as CUBIC does: RFC 9438).
"""

from __future__ import annotations

import math

import attrs

USED = 0.8
"""The share of the limit that is in use where a higher one can make a difference."""

GIVEN_BACK = 0.25
"""Withheld tokens that come back with an answer: so at most one request in five is refused."""

SHORTEST_ROUND = 1.0
"""Seconds; rates are limited over a second or longer, so that nothing is learnt in less."""


@attrs.frozen(kw_only=True)
class Rules:
    """How the limit begins and moves; see `headrace_adaptive.Adaptive`."""

    start: int
    least: int
    most: float
    cut: float
    growth: float
    cooldown: float


class Control:
    """One limit, by `Rules`. ``now`` is in seconds on a clock that never goes back."""

    __slots__ = (
        "_answered",
        "_cut_at",
        "_cut_until",
        "_limit",
        "_round_began",
        "_trusted",
        "_withheld",
        "rules",
    )

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self._limit = float(rules.start)
        self._cut_at = 0.0
        self._withheld = 0.0
        self._trusted: float | None = None
        self._cut_until = now
        self._begin_round(now)

    @property
    def limit(self) -> int:
        """How many attempts the endpoint is thought to bear at once."""
        return int(self._limit)

    @property
    def tokens(self) -> int:
        """How many attempts may be under way now: the limit, less what is withheld."""
        return self.limit - math.ceil(self._withheld)

    def answered(self, now: float, in_use: int) -> bool:
        """An attempt succeeded, ``in_use`` tokens in use, its own among them; True where the limit grew."""
        if self._withheld:
            self._withheld = max(0.0, self._withheld - GIVEN_BACK)
        if now < self._round_began or in_use < USED * self.limit:
            return False
        self._answered += 1
        if self._answered < self.limit or now < self._round_began + SHORTEST_ROUND:
            return False
        before = self.limit
        step = 1.0 if self._limit < self._cut_at else max(1.0, self._limit * self.rules.growth)
        self._limit = min(self._limit + step, self.rules.most)
        self._begin_round(now)
        return self.limit > before

    def rate_limited(self, now: float, asked: float | None) -> bool:
        """A call was refused for the rate; ``asked``: to stay away so many seconds. True where it was cut."""
        if now < self._cut_until:
            self._withheld = min(self._withheld + 1.0, self.limit - 1.0)
            return False
        return self._cut(now, asked)

    def suspect(self, now: float, asked: float | None) -> None:
        """Refusals may be a limit's: go below the tokens that there were, cooldown or not, and see."""
        if self._trusted is None:
            self._trusted = self._limit
        self._limit = max(self._limit - self._withheld, self.rules.least)
        self._withheld = 0.0
        self._cut(now, asked)

    def confirm(self) -> None:
        """They were: stay where it is."""
        self._trusted = None

    def restore(self, now: float) -> None:
        """They were chance: have the limit where it was."""
        if self._trusted is not None:
            self._limit, self._trusted = max(self._limit, self._trusted), None
        self._withheld = 0.0
        self._cut_until = now
        self._begin_round(now)

    def _cut(self, now: float, asked: float | None) -> bool:
        before = self.limit
        self._cut_at = self._limit
        self._cut_until = now + max(self.rules.cooldown, asked or 0.0)
        self._limit = max(self._limit * self.rules.cut, self.rules.least)
        self._withheld = max(0.0, self._withheld - (before - self.limit))
        self._begin_round(self._cut_until)
        return self.limit < before

    def failed(self, now: float) -> None:
        """The endpoint failed, which says nothing about its limit, but is no time to ask more of it."""
        self._begin_round(max(self._round_began, now + self.rules.cooldown))

    def _begin_round(self, at: float) -> None:
        """One that begins in the future counts nothing until then: the limit does not grow."""
        self._round_began = at
        self._answered = 0
