"""The two charts of a report, as SVG."""

from __future__ import annotations

import math

from headrace._support.histogram import LatencyHistogram
from headrace._support.units import format_duration
from headrace.bulk.report.timeline import TimelineView
from headrace.pages import Plot, TimeAxis
from headrace.pages import throughput_chart as draw_throughput
from headrace.pages.scales import LABEL_WIDTH, count_ticks, latency_label, log_ticks

PERCENTILES = (50, 95, 99)

_BARS = 60
_LEAST_RATIO = 1.6
"""Minimum ratio of the last to the first latency of an axis, so that close latencies look close."""

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
    for kind, label_width in LABEL_WIDTH.items():
        plot.across(
            [(place(t), latency_label(t, low, high)) for t in log_ticks(low, high, label_width)], kind
        )
    plot.name_axis("latency (logarithmic)")
    return plot.svg()


def throughput_chart(view: TimelineView) -> str:
    """Items done over time, failed ones at the bottom; a dashed line marks a pause."""
    width = view.width / 1000
    axis = TimeAxis(
        [
            (part.start / 1000, max(part.end / 1000, part.bars[-1].start / 1000 + width))
            for part in view.periods
        ],
        [pause / 1000 for pause in view.pauses],
    )
    bars = [bar for part in view.periods for bar in part.bars]
    counts = [(bar.start / 1000, bar.succeeded, bar.failed) for bar in bars]
    return draw_throughput(axis, counts, width, seconds=view.active / 1000)
