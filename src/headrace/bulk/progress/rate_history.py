"""How fast a run was in the last minutes."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

_KEPT = 240
_RECENT = 6
_BARS = "▁▂▃▄▅▆▇█"


class RateHistory:
    """The rate of a run between the times at which somebody looked.

    Example:
        ```python
        history = RateHistory()
        history.add(0.0, 0)
        history.add(2.0, 50)
        history.now  # 25.0
        ```
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=_KEPT)

    def add(self, time: float, done: int) -> None:
        """Note how many items are done.

        Args:
            time: When, in seconds of any clock; a time that is not later than the last one is left out.
            done: The number of items that are done.
        """
        if not self._looks or time > self._looks[-1][0]:
            self._looks.append((time, done))

    @property
    def rates(self) -> list[float]:
        """Items per second between each two looks, at most 239 of them."""
        return [
            max(0, later[1] - before[1]) / (later[0] - before[0]) for before, later in pairwise(self._looks)
        ]

    @property
    def now(self) -> float | None:
        """Items per second over the last five looks; None before the second one."""
        if len(self._looks) < 2:
            return None
        return _rate(self._looks[max(-_RECENT, -len(self._looks))], self._looks[-1])

    def sparkline(self, width: int) -> str:
        """The last rates as a row of bars.

        Args:
            width: The most characters.
        """
        rates = self.rates[-width:] if width > 0 else []
        highest = max(rates, default=0.0)
        if not highest:
            return _BARS[0] * len(rates)
        return "".join(_BARS[min(len(_BARS) - 1, int(rate / highest * len(_BARS)))] for rate in rates)


def _rate(before: tuple[float, int], later: tuple[float, int]) -> float:
    return max(0, later[1] - before[1]) / (later[0] - before[0])
