"""Limit or chance: whether 429s say that too much is sent, or come whatever is sent. Pure.

Two things answer 429. A *limit* refuses what is above a rate, and nothing when less is sent. *Chance* (an
overloaded endpoint, a proxy with a sick backend) refuses some share of the attempts, however many are sent.
To slow down helps against a limit and only costs against chance, so a sender has to know which one it meets.

Attempts are numbered in the order in which they begin. An attempt that begins and is not refused was
accepted; that needs no bookkeeping when a call succeeds, and a refusal comes early while an answer takes its
time. So all is counted in numbers: ``k`` refusals whose numbers span ``s`` attempts are the share ``k / s``.

**Refusals dominate** when the last `DOMINANT` of them span at most `DOMINANT_SPAN` attempts. At random with a
share of 30 % that happens once in 40,000 attempts (a binomial tail); where nothing is let through, at once.
A refusal that asks for more than `LONG` seconds counts as two: a limit by the minute never asks for so long,
and an overloaded endpoint has no reason to.

**A limit is suspected** when the last `SUSPICIOUS` refusals are more than `SUSPICIOUS_SHARE` of the attempts
that they span. Twenty, because the share is then known to within a fifth (its standard deviation is 1 / √20);
a share of 1 % looks like 2.5 % once in a million attempts. Once a limit is known, `KNOWN` refusals above
`KNOWN_SHARE` do: the limit has been found again. A share that was found to be chance is not suspected before
it has doubled.

**The test** is an experiment, for there is no other way: an endpoint that is always asked for the same shows
the same share for either reason. The sender slows to below what was accepted per second while refusals came,
which a limit bears, and counts on. Wald's sequential test then decides, with an error of 1 % for either side,
between

    chance    the share of refusals is at least half (`REMAINS`) of what it was
    limit     it falls to a tenth (`FALLEN`), or to what is known to be chance, where that is more

after the fewest attempts that can tell, and for chance after `DOMINANT` refusals at least: some 40 attempts
at a share of 30 %, 120 at 10 %, 480 at 2.5 %. The share that there was is that of a suspicious moment, and so
too high by chance, hardly twice; hence the half. Attempts that began before the sender slowed do not count. A
verdict of chance is looked into again after `AGAIN` times the seconds that the test took, and after
`AGAIN_LEAST` at least: at most a twentieth of the time is spent on tests.

Where refusals grow although less is sent, it is not chance either, and the test begins anew.

Abraham Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16 (1945).
"""

from __future__ import annotations

import math
import re
from collections import deque
from enum import Enum

from headrace.errors import StatusError

DOMINANT, DOMINANT_SPAN = 12, 14
LONG = 60.0
"""Seconds; the longest wait that a limit by the minute has a reason to ask for."""
SUSPICIOUS, SUSPICIOUS_SHARE = 20, 0.025
KNOWN, KNOWN_SHARE = 5, 0.05
LASTING = 0.2
"""Seconds from the first to the last of the refusals that are suspected; one moment tells no rate."""
DOUBLED = 2.0
CERTAIN = math.log(99.0)
"""The logarithm of the odds at which the test decides."""
REMAINS, FALLEN = 0.5, 0.1
AGAIN, AGAIN_LEAST = 20.0, 30.0

_REMEMBERED = 100
_PER_DAY = re.compile(rb"per[ _-]?day|daily|\b[RT]PD\b", re.IGNORECASE)
_READ = 4096


class RateLimitEvidence(Enum):
    """What an attempt's fate says.

    NOTHING new; a limit is SUSPECTED: slow down, and the test tells; refusals are DOMINANT: stop for a while;
    the test is over, and it is a LIMIT; or it is CHANCE: slowing down did not help.
    """

    NOTHING = "nothing"
    SUSPECTED = "suspected"
    DOMINANT = "dominant"
    LIMIT = "limit"
    CHANCE = "chance"


class RateLimitDetector:
    """The 429s of one endpoint or model. Times are in seconds on a clock that never goes back.

    ``testing``: the test is under way, and wants to be told by `record_acceptance` what was not refused.
    ``limited``: a limit is known or suspected. ``accepted`` in ``seconds``: attempts while the refusals came
    that are suspected.
    """

    __slots__ = (
        "_again_at",
        "_chance",
        "_from",
        "_recent",
        "_refused",
        "_resolved",
        "_share",
        "_span",
        "_test_began",
        "accepted",
        "limited",
        "seconds",
        "testing",
    )

    def __init__(self) -> None:
        self.testing: bool = False
        self.limited: bool = False
        self.accepted: int = 0
        self.seconds: float = 0.0
        self._recent: deque[tuple[int, float, bool]] = deque(maxlen=_REMEMBERED)
        self._chance = 0.0
        self._again_at = -math.inf
        self._from = 0
        self._share, self._span = 0.0, 0
        self._refused = self._resolved = 0
        self._test_began = 0.0

    def record_rejection(
        self, number: int, started_at: float, now: float, retry_after: float | None, latest: int
    ) -> RateLimitEvidence:
        """Attempt ``number``, begun then, got a 429 that asks to stay away for so many seconds.

        ``last``: the number of the latest attempt begun, from which on a sender that slows does so.
        """
        if number <= self._from:
            return RateLimitEvidence.NOTHING
        recent = self._recent
        recent.append((number, started_at, retry_after is not None and retry_after > LONG))
        if self._dominant():
            self.limited = True
            self._slowed(latest)
            return RateLimitEvidence.DOMINANT
        if self.testing:
            self._refused += 1
            return self._resolve(number, latest, now)
        needed, least = (KNOWN, KNOWN_SHARE) if self.limited else (SUSPICIOUS, SUSPICIOUS_SHARE)
        if now < self._again_at:
            needed, least = SUSPICIOUS, max(least, DOUBLED * self._chance)
        if len(recent) < needed:
            return RateLimitEvidence.NOTHING
        return self._suspect(needed, least, latest, now)

    def record_acceptance(self, number: int, now: float) -> RateLimitEvidence:
        """Attempt ``number`` was not refused; to be told only while ``testing``."""
        return self._resolve(number, number, now) if self.testing else RateLimitEvidence.NOTHING

    def postpone_test(self) -> None:
        """The sender does not know yet how slow is slow enough: the test has to wait."""
        self.testing = False

    def reset(self) -> None:
        """The sender goes as fast as it likes again: no limit is known any more."""
        self.testing = self.limited = False
        self._recent.clear()

    def _suspect(self, needed: int, least: float, latest: int, now: float) -> RateLimitEvidence:
        # In the order in which they were sent, which is not always that in which they are refused.
        stretch = self._stretch(needed)
        (first, since, _), (last_refused, until, _) = min(stretch), max(stretch)
        span, refused = last_refused - first + 1, self._count(first, last_refused)
        if refused / span < least or until - since < LASTING:
            return RateLimitEvidence.NOTHING
        self.accepted, self.seconds = span - refused, until - since
        self._share, self._span = min(refused / span, 0.9), span
        self._slowed(latest)
        self.testing = self.limited = True
        self._refused = self._resolved = 0
        self._test_began = now
        return RateLimitEvidence.SUSPECTED

    def _stretch(self, needed: int) -> list[tuple[int, float, bool]]:
        """The latest refusals: so many, and as many more as it takes for them to last."""
        recent = list(self._recent)
        begin = len(recent) - needed
        while begin and recent[-1][1] - recent[begin][1] < LASTING:
            begin -= 1
        return recent[begin:]

    def _slowed(self, latest: int) -> None:
        self.testing = False
        self._from = latest
        self._recent.clear()

    def _dominant(self) -> bool:
        """Whether the last refusals, which count for `DOMINANT`, are nearly all of the attempts they span."""
        weight, recent = 0, self._recent
        if 2 * len(recent) < DOMINANT:
            return False
        lowest = highest = recent[-1][0]
        for number, _, long in reversed(recent):
            weight += 2 if long else 1
            lowest, highest = min(lowest, number), max(highest, number)
            if weight >= DOMINANT:
                refused = self._count(lowest, highest)
                return refused * DOMINANT_SPAN >= DOMINANT * (highest - lowest + 1)
        return False

    def _count(self, first: int, last: int) -> int:
        return sum(first <= number <= last for number, _, _ in self._recent)

    def _resolve(self, number: int, latest: int, now: float) -> RateLimitEvidence:
        """Go on with the test: the attempts up to ``number`` are known to be refused or not."""
        self._resolved = max(self._resolved, number - self._from, self._refused)
        likely = REMAINS * self._share
        unlikely = max(FALLEN * self._share, min(self._chance, likely / DOUBLED))
        odds = self._refused * math.log(likely / unlikely)
        odds += (self._resolved - self._refused) * math.log((1 - likely) / (1 - unlikely))
        if -CERTAIN < odds < CERTAIN or (odds > 0 and self._refused < DOMINANT):
            return RateLimitEvidence.NOTHING
        self.testing = False
        if odds < 0:
            self._recent.clear()
            return RateLimitEvidence.LIMIT
        remains = self._refused / self._resolved
        if remains >= min(DOUBLED * self._share, 0.9):
            # It got worse while less was sent: this is not what was there before.
            return self._suspect(len(self._recent), 0.0, latest, now)
        before = self._span * self._share
        self.limited = False
        self._chance = (before + self._refused) / (self._span + self._resolved)
        self._again_at = now + max(AGAIN_LEAST, AGAIN * (now - self._test_began))
        return RateLimitEvidence.CHANCE


def is_out_of_credit(error: StatusError) -> bool:
    """Whether a refusal says that no credit is left, which neither waiting nor slowing down mends."""
    return error.limit == "quota" or error.error_code == "insufficient_quota"


def is_daily_limit(error: StatusError) -> bool:
    """Whether a refusal says that what is allowed for a day is used up, which no short wait mends."""
    return error.status == 429 and _PER_DAY.search(error.body[:_READ]) is not None
