"""When a part that is not full is sent: rows that need several calls come again and again."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from headrace_batch.part import Part, Stage


class PartSchedule:
    """Follows which parts are under way, and decides how long a part that is not full waits for further rows.

    Rows come together: when a batch has ended, with its results. Batches that end together are seen within
    the time of a poll. So a part waits until no batch is merged, and none has ended for that time. It does
    not wait if nothing is under way, because then no row comes. So each batch that ends leads to at most one
    part of each kind that is not full.

    Args:
        poll: The longest time between two looks at a batch, in seconds.
        is_hurried: Whether parts should not wait.
    """

    def __init__(self, poll: float, is_hurried: Callable[[], bool]) -> None:
        self._poll = poll
        self._is_hurried = is_hurried
        self._parts: dict[int, Part] = {}
        self._others = 0
        self._last_end = -math.inf
        self._changed = anyio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._parts and not self._others

    def begin(self, part: Part | None) -> None:
        """Note that a part is under way; None for ordinary calls."""
        if part is None:
            self._others += 1
        else:
            self._parts[part.number] = part

    def end(self, part: Part | None) -> None:
        """Note that a part has ended, or ordinary calls have if it is None."""
        if part is None:
            self._others -= 1
        else:
            del self._parts[part.number]
        self._last_end = anyio.current_time()
        self.note_change()

    def seconds_left(self) -> float:
        """Seconds for which a part that is not full waits for further rows, if nothing changes before."""
        if self.is_idle or self._is_hurried():
            return 0.0
        if any(part.stage is Stage.ENDED for part in self._parts.values()):
            return math.inf
        return max(0.0, self._last_end + self._poll - anyio.current_time())

    def note_change(self) -> None:
        """Note that what is sent next may have to be decided anew."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def next_change(self) -> anyio.Event:
        """An event that is set at the next change."""
        return self._changed
