"""Counts over time, as stacked bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from headrace._support.units import format_duration
from headrace.pages.plot import Plot
from headrace.pages.scales import count_ticks, width_label
from headrace.pages.time_axis import TimeAxis


@attrs.frozen
class Bar:
    """The counts of a stretch of time.

    Args:
        start: When it begins, in seconds.
        parts: Class and count of each part, from the bottom to the top.
        title: What the counts are, for the person who points at the bar.
    """

    start: float
    parts: Sequence[tuple[str, int]]
    title: str

    @property
    def height(self) -> int:
        """All counts together."""
        return sum(count for _, count in self.parts)


def bar_chart(label: str, axis: TimeAxis, bars: Sequence[Bar], width: float, *, live: bool = False) -> str:
    """Draw stacked bars over the time since the first call.

    Args:
        label: A sentence that says what the chart shows, for people who do not see it.
        axis: The time axis.
        bars: The bars in order of time, at least one.
        width: The length of the time of a bar, in seconds.
        live: Whether the last bar is not complete yet; it is drawn paler.

    Returns:
        The SVG, with all text escaped.
    """
    plot = Plot(label, count_ticks(max(1, *(bar.height for bar in bars))), axis.above)
    for bar in bars:
        begin, end = axis.place(bar.start), axis.place(bar.start + width)
        plot.bar(begin, end, bar.parts, bar.title, unfinished=live and bar is bars[-1])
    axis.draw(plot, "time since the first call")
    return plot.svg()


def throughput_chart(
    axis: TimeAxis,
    counts: Iterable[tuple[float, int, int]],
    width: float,
    *,
    seconds: float | None = None,
    live: bool = False,
) -> str:
    """Draw the items that were done over time, failed ones at the bottom.

    Args:
        axis: The time axis, in seconds since the first call.
        counts: Begin, number of succeeded items and number of failed items of each bar, at least one bar.
        width: The length of the time of a bar, in seconds.
        seconds: The time from the first call to the last item, without pauses; by default the length of the
            axis, which ends with a whole bar.
        live: Whether the last bar is not complete yet.

    Returns:
        The SVG, with all text escaped.
    """
    bars = [
        Bar(
            start,
            (("failed", failed), ("done", succeeded)),
            f"after {format_duration(max(start, 0))}: {succeeded:,} succeeded, {failed:,} failed",
        )
        for start, succeeded, failed in counts
    ]
    failed = sum(bar.parts[0][1] for bar in bars)
    label = (
        f"Items done over {format_duration(axis.length if seconds is None else seconds)}, "
        f"counted every {width_label(round(width * 1000))}: "
        f"at most {max(bar.height for bar in bars):,} in one; {failed:,} failed in all."
    )
    return bar_chart(label, axis, bars, width, live=live)
