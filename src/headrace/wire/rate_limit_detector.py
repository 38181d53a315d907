"""Decides whether 429s are caused by a rate limit or by chance. No I/O, no clock.

Two causes lead to a 429. A *limit* rejects what exceeds a rate, and nothing when less is sent. *Chance* (an
overloaded endpoint, a proxy with a broken backend) rejects some share of the attempts, however many are sent.
Slowing down helps against a limit; against chance it only costs time. So the cause matters.

Attempts are numbered in the order in which they start. An attempt that starts and is not rejected was
accepted. A successful call therefore needs no bookkeeping, and the count does not wait for slow answers,
because rejections are fast. All counts are differences of numbers: ``k`` rejections whose numbers span ``s``
attempts are the share ``k / s``.

**Rejections dominate** if the last `DOMINANT` of them span at most `DOMINANT_SPAN` attempts. With a random
share of 30 % that happens once in 40,000 attempts (tail of a binomial distribution); if nothing is accepted,
it happens at once. A rejection with a wait of more than `LONG` seconds counts twice: a limit per minute never
requires that long, and an overloaded endpoint has no reason to.

**A limit is suspected** if the last `SUSPICIOUS` rejections are more than `SUSPICIOUS_SHARE` of the attempts
that they span. With twenty rejections the share is known to within a fifth (its standard deviation is
1 / √20); a share of 1 % looks like 2.5 % once in a million attempts. Once a limit is known, `KNOWN`
rejections above `KNOWN_SHARE` are enough. A share that turned out to be chance is suspected again only after
it has doubled.

**The test** is an experiment, because both causes show the same share at a constant rate. The sender slows
down below the accepted rate, which a limit allows, and counts again. Wald's sequential test then decides,
with an error of 1 % on either side, between

    chance    the share of rejections is at least half (`REMAINS`) of what it was
    limit     the share falls to a tenth (`FALLEN`), or to what is known to be chance if that is more

after the fewest sufficient attempts, and for chance after at least `DOMINANT` rejections: some 40 attempts at
a share of 30 %, 120 at 10 %, 480 at 2.5 %. The earlier share was measured at a suspicious moment, so it is
too high by chance, but hardly by more than a factor of two; hence the half. Attempts that started before the
sender slowed down do not count. After a verdict of chance, the next test waits `AGAIN` times the seconds that
this one took, and at least `AGAIN_LEAST`: tests take at most a twentieth of the time.

If the share of rejections doubles although less is sent, the situation has changed, and a new test starts.

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
"""Seconds: the longest wait that a limit per minute can require."""
SUSPICIOUS, SUSPICIOUS_SHARE = 20, 0.025
KNOWN, KNOWN_SHARE = 5, 0.05
MIN_DURATION = 0.2
"""Seconds: the shortest time over which suspicious rejections must be spread; a moment shows no rate."""
DOUBLED = 2.0
CERTAIN = math.log(99.0)
"""The logarithm of the odds at which the test decides."""
REMAINS, FALLEN = 0.5, 0.1
AGAIN, AGAIN_LEAST = 20.0, 30.0

_MAX_REMEMBERED = 100
_PER_DAY = re.compile(rb"per[ _-]?day|daily|\b[RT]PD\b", re.IGNORECASE)
_MAX_BODY_BYTES = 4096


class RateLimitEvidence(Enum):
    """The evidence from the result of an attempt.

    Attributes:
        NOTHING: Nothing new.
        SUSPECTED: There may be a limit. A test has started: slow down.
        DOMINANT: Nearly all attempts are rejected. Stop for a while.
        LIMIT: The test is over. There is a limit.
        CHANCE: The test is over. Slowing down did not help.
    """

    NOTHING = "nothing"
    SUSPECTED = "suspected"
    DOMINANT = "dominant"
    LIMIT = "limit"
    CHANCE = "chance"


class RateLimitDetector:
    """The 429s of one endpoint or model. All times are in seconds, on a clock that never goes back.

    Attributes:
        testing: Whether a test runs. It needs a call of `record_acceptance` for each accepted attempt.
        limited: Whether a limit is known or suspected.
        accepted: Attempts accepted during the suspicious rejections.
        seconds: Seconds in which they were accepted.
    """

    __slots__ = (
        "_again_at",
        "_chance",
        "_ignored_up_to",
        "_recent",
        "_rejected",
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
        self._recent: deque[tuple[int, float, bool]] = deque(maxlen=_MAX_REMEMBERED)
        self._chance = 0.0
        self._again_at = -math.inf
        self._ignored_up_to = 0
        self._share, self._span = 0.0, 0
        self._rejected = self._resolved = 0
        self._test_began = 0.0

    def record_rejection(
        self, number: int, started_at: float, now: float, retry_after: float | None, latest: int
    ) -> RateLimitEvidence:
        """Record that an attempt got a 429.

        Args:
            number: The number of the attempt.
            started_at: When the attempt started.
            now: The time.
            retry_after: The wait in seconds that the endpoint asks for; None without one.
            latest: The number of the latest attempt that has started. If the sender slows down, it does so
                after this one.

        Returns:
            The evidence.
        """
        if number <= self._ignored_up_to:
            return RateLimitEvidence.NOTHING
        recent = self._recent
        recent.append((number, started_at, retry_after is not None and retry_after > LONG))
        if self._is_dominant():
            self.limited = True
            self._ignore_up_to(latest)
            return RateLimitEvidence.DOMINANT
        if self.testing:
            self._rejected += 1
            return self._continue_test(number, latest, now)
        needed, least = (KNOWN, KNOWN_SHARE) if self.limited else (SUSPICIOUS, SUSPICIOUS_SHARE)
        if now < self._again_at:
            needed, least = SUSPICIOUS, max(least, DOUBLED * self._chance)
        if len(recent) < needed:
            return RateLimitEvidence.NOTHING
        return self._suspect(needed, least, latest, now)

    def record_acceptance(self, number: int, now: float) -> RateLimitEvidence:
        """Record that attempt ``number`` was not rejected; needed only while ``testing``."""
        return self._continue_test(number, number, now) if self.testing else RateLimitEvidence.NOTHING

    def postpone_test(self) -> None:
        """End the test without a result, because the sender has not yet found a rate that is slow enough."""
        self.testing = False

    def reset(self) -> None:
        """Forget all rejections and any limit, because the sender sends at full speed again."""
        self.testing = self.limited = False
        self._recent.clear()

    def _suspect(self, needed: int, least: float, latest: int, now: float) -> RateLimitEvidence:
        """Start a test if the last rejections are a large enough share of the attempts."""
        # min and max go by the order in which attempts started, which may differ from that of rejections.
        found = self._latest_rejections(needed)
        (first, since, _), (last, until, _) = min(found), max(found)
        span, rejected = last - first + 1, self._count(first, last)
        if rejected / span < least or until - since < MIN_DURATION:
            return RateLimitEvidence.NOTHING
        self.accepted, self.seconds = span - rejected, until - since
        self._share, self._span = min(rejected / span, 0.9), span
        self._ignore_up_to(latest)
        self.testing = self.limited = True
        self._rejected = self._resolved = 0
        self._test_began = now
        return RateLimitEvidence.SUSPECTED

    def _latest_rejections(self, needed: int) -> list[tuple[int, float, bool]]:
        """Return the latest ``needed`` rejections, and more if these took less than `MIN_DURATION`."""
        recent = list(self._recent)
        begin = len(recent) - needed
        while begin and recent[-1][1] - recent[begin][1] < MIN_DURATION:
            begin -= 1
        return recent[begin:]

    def _ignore_up_to(self, latest: int) -> None:
        """Count only attempts that start from now on."""
        self.testing = False
        self._ignored_up_to = latest
        self._recent.clear()

    def _is_dominant(self) -> bool:
        """Return whether the last rejections, of weight `DOMINANT`, are nearly all attempts of their span."""
        weight, recent = 0, self._recent
        if 2 * len(recent) < DOMINANT:
            return False
        lowest = highest = recent[-1][0]
        for number, _, long in reversed(recent):
            weight += 2 if long else 1
            lowest, highest = min(lowest, number), max(highest, number)
            if weight >= DOMINANT:
                rejected = self._count(lowest, highest)
                return rejected * DOMINANT_SPAN >= DOMINANT * (highest - lowest + 1)
        return False

    def _count(self, first: int, last: int) -> int:
        """Return the number of rejections among these attempts."""
        return sum(first <= number <= last for number, _, _ in self._recent)

    def _continue_test(self, number: int, latest: int, now: float) -> RateLimitEvidence:
        """Continue the test: the result of each attempt up to ``number`` is known."""
        self._resolved = max(self._resolved, number - self._ignored_up_to, self._rejected)
        likely = REMAINS * self._share
        unlikely = max(FALLEN * self._share, min(self._chance, likely / DOUBLED))
        odds = self._rejected * math.log(likely / unlikely)
        odds += (self._resolved - self._rejected) * math.log((1 - likely) / (1 - unlikely))
        if -CERTAIN < odds < CERTAIN or (odds > 0 and self._rejected < DOMINANT):
            return RateLimitEvidence.NOTHING
        self.testing = False
        if odds < 0:
            self._recent.clear()
            return RateLimitEvidence.LIMIT
        remains = self._rejected / self._resolved
        if remains >= min(DOUBLED * self._share, 0.9):
            # More rejections although less was sent: the situation has changed.
            return self._suspect(len(self._recent), 0.0, latest, now)
        before = self._span * self._share
        self.limited = False
        self._chance = (before + self._rejected) / (self._span + self._resolved)
        self._again_at = now + max(AGAIN_LEAST, AGAIN * (now - self._test_began))
        return RateLimitEvidence.CHANCE


def is_out_of_credit(error: StatusError) -> bool:
    """Return whether an error means that no credit is left; waiting or slowing down does not help then."""
    return error.limit == "quota" or error.error_code == "insufficient_quota"


def is_daily_limit(error: StatusError) -> bool:
    """Return whether a 429 means that a day's quota is used up; a short wait does not help then."""
    return error.status == 429 and _PER_DAY.search(error.body[:_MAX_BODY_BYTES]) is not None
