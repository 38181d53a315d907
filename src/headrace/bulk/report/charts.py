"""The two charts of a report, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace._support.histogram import LatencyHistogram
from headrace._support.html.plot import Plot
from headrace._support.html.scales import (
    count_ticks,
    latency_label,
    log_ticks,
    time_label,
    time_ticks,
    time_unit,
    width_label,
)
from headrace._support.units import format_duration
from headrace.bulk.report.timeline import TimelineView

PERCENTILES = (50, 95, 99)

_BARS = 60
_LEAST_RATIO = 1.6
"""Minimum ratio of the last to the first latency of an axis, so that close latencies look close."""

_LABEL_WIDTH = {"wide": 0.08, "narrow": 0.2}
"""The share of the width that a label needs, by kind of page."""

_PAUSE_LABEL_WIDTH = {"wide": 0.16, "narrow": 0.42}
_ROW = 15


def latency_chart(latencies: LatencyHistogram) -> str:
    """A histogram of latencies on a logarithmic axis, with the percentiles marked."""
    bars = latencies.distribution(_BARS)
    low, high = bars[0][0], bars[-1][1]
    widen = max(1.0, math.sqrt(_LEAST_RATIO / (high / low)))
    low, high = low / widen, high * widen

    def place(seconds: float) -> float:
        return min(1.0, max(0.0, math.log(seconds / low) / math.log(high / low)))

    marks = [(f"p{percent}", latencies.percentile(percent)) for percent in PERCENTILES]
    words = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in marks)
    plot = Plot(
        f"Histogram of the latencies of {latencies.count:,} answers, "
        f"from {format_duration(bars[0][0])} to {format_duration(bars[-1][1])}: {words}.",
        count_ticks(max(count for *_, count in bars)),
        above=_ROW * len(marks) + 6,
    )
    for begin, end, count in bars:
        title = f"{format_duration(begin)} to {format_duration(end)}: {count:,}"
        plot.bar(place(begin), place(end), [("done", count)], title)
    for row, (name, seconds) in enumerate(marks):
        # One row per label, so that labels never overlap.
        at, y = place(seconds), _ROW * (len(marks) - 1 - row)
        plot.rule(at, y + 2, "mark")
        side, dx = ("end", -5) if at > 0.35 else ("start", 5)
        plot.text(at, y + 11, f"{name} {format_duration(seconds)}", side, "marked", dx)
    for kind, label_width in _LABEL_WIDTH.items():
        plot.across(
            [(place(t), latency_label(t, low, high)) for t in log_ticks(low, high, label_width)], kind
        )
    plot.name_axis("latency (logarithmic)")
    return plot.svg()


def throughput_chart(view: TimelineView) -> str:
    """Items done over time, failed ones at the bottom; a dashed line marks a pause."""
    width = view.width
    lengths = [max(part.end, part.bars[-1].start + width) - part.start for part in view.periods]
    length = sum(lengths)
    bars = [bar for part in view.periods for bar in part.bars]
    highest = max(bar.succeeded + bar.failed for bar in bars)
    plot = Plot(
        f"Items done over {format_duration(view.active / 1000)}, counted every {width_label(width)}: "
        f"at most {highest:,} in one; {sum(bar.failed for bar in bars):,} failed in all.",
        count_ticks(highest),
        above=_ROW + 6,
    )
    drawn = 0
    pauses: list[tuple[float, int]] = []
    for number, (part, long) in enumerate(zip(view.periods, lengths, strict=True)):
        if number:
            pauses.append((drawn / length, view.pauses[number - 1]))
        for bar in part.bars:
            begin, end = max(bar.start - part.start, 0) + drawn, bar.start - part.start + width + drawn
            plot.bar(
                begin / length,
                end / length,
                [("failed", bar.failed), ("done", bar.succeeded)],
                f"after {format_duration(max(bar.start, 0) / 1000)}: "
                f"{bar.succeeded:,} succeeded, {bar.failed:,} failed",
            )
        drawn += long
    for at, _ in pauses:
        plot.rule(at, _ROW, "pause")
    unit = time_unit(time_ticks(length / 1000, _LABEL_WIDTH["wide"]))
    for kind, label_width in _LABEL_WIDTH.items():
        ticks = time_ticks(length / 1000, label_width)
        plot.across([(1000 * t / length, time_label(t, unit)) for t in ticks], kind)
        room = _PAUSE_LABEL_WIDTH[kind]
        inside = [(min(max(at, room / 2), 1 - room / 2), pause) for at, pause in pauses]
        for at, pause in _without_overlap(inside, room):
            plot.text(at, 11, f"pause {format_duration(pause / 1000)}", "middle", f"marked {kind}")
    plot.name_axis(f"time since the first call{', less pauses' if pauses else ''} ({unit})")
    return plot.svg()


def _without_overlap(pauses: Sequence[tuple[float, int]], room: float) -> list[tuple[float, int]]:
    """The pauses whose labels fit, the longest first."""
    kept: list[tuple[float, int]] = []
    for at, pause in sorted(pauses, key=lambda each: -each[1]):
        if all(abs(at - other) >= room for other, _ in kept):
            kept.append((at, pause))
    return kept
