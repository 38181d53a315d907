"""A pause of all calls to one model: when it begins, which attempt goes to see, and when it is over; pure.

It lasts as long as the endpoint asks, or else a second. Then one attempt goes, the *probe*, and the others
wait for what becomes of it:

    it succeeds                                the pause is over it has not been refused for `PATIENCE`
    the pause is over: a refusal comes early, an answer takes its time it is refused
    the pause goes on for twice as long, up to `LONGEST_STEP`, or for as
                                               long as is asked, where that is more
    it fails otherwise, or is cancelled        the next one may go

What was sent before the pause changes nothing, but may ask for longer.

A call may have to wait before it can go as the probe. It reserves that, and then no other goes in its place.
"""

from __future__ import annotations

import math

from headrace_pace.headers import LONGEST

FIRST, LONGEST_STEP = 1.0, 60.0
PATIENCE = 2.0


class Pause:
    """While it ``holds`` nothing goes but probes, and these not before ``until``."""

    __slots__ = ("_length", "_probe", "_probe_began", "_reserved_for", "holds", "until")

    def __init__(self) -> None:
        self.holds = False
        self.until = float("-inf")
        self._length = 0.0
        self._probe: int | None = None
        self._probe_began = 0.0
        self._reserved_for: object = None

    def wait(self, now: float) -> float:
        """Seconds until a call may go, as far as is known; 0 for at once."""
        if not self.holds:
            return 0.0
        if self._probe is None or now < self.until:
            return max(0.0, self.until - now)
        left = self._probe_began + PATIENCE - now
        if left > 0:
            return left
        self.holds, self._probe = False, None
        return 0.0

    def wait_behind(self, now: float) -> float:
        """The same for those who let the one go first that has reserved the probe."""
        wait = self.wait(now)
        return math.inf if self.holds and not wait and self._reserved_for is not None else wait

    def left(self, now: float) -> float:
        """Seconds until a probe may go; 0 where no pause holds."""
        return max(0.0, self.until - now) if self.holds else 0.0

    def refused(
        self, now: float, number: int, asked: float | None, step: float = LONGEST_STEP
    ) -> float | None:
        """An attempt was refused: begin, or go on. Returns how long the pause is that begins, else None.

        ``step``: the seconds up to which a pause that did not help is made twice as long.
        """
        asked = None if asked is None else min(asked, LONGEST)
        if not self.holds:
            self.holds, self._probe = True, None
            self._length = asked or FIRST
            self.until = now + self._length
            return self._length
        if number == self._probe:
            self._probe = None
            self._length = max(min(2 * self._length, step), asked or 0.0)
            self.until = now + self._length
        elif asked is not None:
            self.until = max(self.until, now + asked)
        return None

    def probes(self, number: int) -> bool:
        """Whether this attempt is the probe."""
        return self.holds and number == self._probe

    def reserve(self, caller: object) -> None:
        """While the pause holds, keep the probe for ``caller``, which goes as soon as it can."""
        if self.holds:
            self._reserved_for = caller

    def release(self, caller: object) -> None:
        """End that."""
        if self._reserved_for is caller:
            self._reserved_for = None

    def sent(self, now: float, number: int) -> None:
        """While it holds, an attempt goes: it is the probe."""
        self._probe, self._probe_began = number, now

    def ended(self, number: int, *, succeeded: bool) -> None:
        """What becomes of an attempt that was not refused."""
        if number == self._probe:
            self._probe = None
            if succeeded:
                self.holds = False
