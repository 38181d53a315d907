"""The horizontal axis of charts over time, from which long pauses are left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from headrace._support.units import format_duration
from headrace.pages.plot import Plot
from headrace.pages.scales import LABEL_WIDTH, time_label, time_ticks, time_unit

_PAUSE_LABEL_WIDTH = {"wide": 0.16, "narrow": 0.42}
_ROW = 15


class TimeAxis:
    """The active periods of a run, one beside the other; a dashed line marks a pause between two.

    Args:
        periods: When each period begins and ends, in seconds and in order. At least one; they are not all
            empty.
        pauses: The length of each pause, in seconds, if it is not what is between two periods: a bar of the
            last items of a period may reach into the pause.

    Attributes:
        above: The pixels that a plot needs above it, for the labels of the pauses.
        length: The length of all periods, in seconds.
        pauses: The length of each pause, in seconds.
        unit: The unit of the labels: "s", "min:s", "h:min" or "days".

    Example:
        ```python
        axis = TimeAxis([(0, 600), (7800, 8400)])
        plot = Plot("Items done", count_ticks(120), axis.above)
        plot.bar(axis.place(60), axis.place(120), [("done", 100)], "after 1:00: 100")
        axis.draw(plot, "time since the first call")
        ```
    """

    above: float = _ROW + 6

    def __init__(self, periods: Sequence[tuple[float, float]], pauses: Sequence[float] | None = None) -> None:
        self._periods = periods
        self.length: float = sum(end - start for start, end in periods)
        between = [start - end for (_, end), (start, _) in pairwise(periods)]
        self.pauses: Sequence[float] = between if pauses is None else pauses
        self.unit: str = time_unit(time_ticks(self.length, LABEL_WIDTH["wide"]))

    def place(self, time: float) -> float:
        """The share of the width at which a time is; a time in a pause is at the pause."""
        before = 0.0
        for start, end in self._periods:
            if time <= end:
                return (before + max(time - start, 0.0)) / self.length
            before += end - start
        return 1.0

    def draw(self, plot: Plot, name: str) -> None:
        """Draw the ticks, the name with its unit, and the pauses.

        Args:
            plot: The plot, whose bars and curves are drawn already.
            name: What the time is, for example "time since the first call".
        """
        starts = [self.place(start) for start, _ in self._periods[1:]]
        pauses = list(zip(starts, self.pauses, strict=True))
        for at, _ in pauses:
            plot.rule(at, _ROW, "pause")
        for kind, label_width in LABEL_WIDTH.items():
            ticks = time_ticks(self.length, label_width)
            plot.across([(time / self.length, time_label(time, self.unit)) for time in ticks], kind)
            room = _PAUSE_LABEL_WIDTH[kind]
            inside = [(min(max(at, room / 2), 1 - room / 2), pause) for at, pause in pauses]
            for at, pause in _without_overlap(inside, room):
                plot.text(at, 11, f"pause {format_duration(pause)}", "middle", f"marked {kind}")
        plot.name_axis(f"{name}{', less pauses' if pauses else ''} ({self.unit})")


def _without_overlap(pauses: Sequence[tuple[float, float]], room: float) -> list[tuple[float, float]]:
    """The pauses whose labels fit, the longest first."""
    kept: list[tuple[float, float]] = []
    for at, pause in sorted(pauses, key=lambda each: -each[1]):
        if all(abs(at - other) >= room for other, _ in kept):
            kept.append((at, pause))
    return kept
