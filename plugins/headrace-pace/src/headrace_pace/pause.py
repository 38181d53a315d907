"""A pause of all calls to one model: when it begins, which attempt is the probe, when it ends. No I/O.

A pause lasts as long as the endpoint asks, or else one second. Then one attempt goes, the *probe*, and the
other calls wait for its result:

    it succeeds                             the pause is over
    it is not rejected for `PROBE_TIMEOUT`  the pause is over: a rejection comes early, an answer takes longer
    it is rejected                          the pause continues for twice as long, up to `MAX_STEP`, or for as
                                            long as the endpoint asks, if that is longer
    it fails otherwise, or is cancelled     the next call may be the probe

Attempts sent before the pause cannot end it, but they may extend it.

A call may have to wait for its tokens before it can go as the probe. It reserves the probe, and then no other
call goes in its place.
"""

from __future__ import annotations

import math

from headrace_pace.rate_limit_headers import MAX_SECONDS

FIRST_PAUSE, MAX_STEP = 1.0, 60.0
PROBE_TIMEOUT = 2.0


class Pause:
    """While the pause ``holds``, only probes are sent, and not before ``until``."""

    __slots__ = ("_length", "_probe", "_probe_began", "_reserved_for", "holds", "until")

    def __init__(self) -> None:
        self.holds: bool = False
        self.until: float = float("-inf")
        self._length = 0.0
        self._probe: int | None = None
        self._probe_began = 0.0
        self._reserved_for: object = None

    def delay(self, now: float) -> float:
        """Return the seconds until a call may go, as far as is known; 0 for at once."""
        if not self.holds:
            return 0.0
        if self._probe is None or now < self.until:
            return max(0.0, self.until - now)
        left = self._probe_began + PROBE_TIMEOUT - now
        if left > 0:
            return left
        self.holds, self._probe = False, None
        return 0.0

    def delay_behind(self, now: float) -> float:
        """Return the same for a call that comes after the one that has reserved the probe."""
        delay = self.delay(now)
        return math.inf if self.holds and not delay and self._reserved_for is not None else delay

    def remaining(self, now: float) -> float:
        """Return the seconds until a probe may go; 0 without a pause."""
        return max(0.0, self.until - now) if self.holds else 0.0

    def record_rejection(
        self, now: float, number: int, retry_after: float | None, step: float = MAX_STEP
    ) -> float | None:
        """Begin or extend the pause after a rejected attempt.

        Args:
            now: The current time in seconds.
            number: The number of the attempt.
            retry_after: Seconds that the endpoint asks to wait, None if it does not say.
            step: Maximum seconds to which a pause that did not help is doubled.

        Returns:
            The length of the pause if it begins now, else None.
        """
        retry_after = None if retry_after is None else min(retry_after, MAX_SECONDS)
        if not self.holds:
            self.holds, self._probe = True, None
            self._length = retry_after or FIRST_PAUSE
            self.until = now + self._length
            return self._length
        if number == self._probe:
            self._probe = None
            self._length = max(min(2 * self._length, step), retry_after or 0.0)
            self.until = now + self._length
        elif retry_after is not None:
            self.until = max(self.until, now + retry_after)
        return None

    def reserve(self, caller: object) -> None:
        """While the pause holds, reserve the probe for ``caller``, which is sent as soon as possible."""
        if self.holds:
            self._reserved_for = caller

    def release(self, caller: object) -> None:
        """End the reservation of ``caller``."""
        if self._reserved_for is caller:
            self._reserved_for = None

    def record_probe(self, now: float, number: int) -> None:
        """Record that an attempt is sent while the pause holds: it is the probe."""
        self._probe, self._probe_began = number, now

    def record_result(self, number: int, *, succeeded: bool) -> None:
        """Record the result of an attempt that was not rejected."""
        if number == self._probe:
            self._probe = None
            if succeeded:
                self.holds = False
