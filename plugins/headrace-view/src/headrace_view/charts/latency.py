"""The latency of a run over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.pages import Plot, count_ticks, latency_scale, width_label
from headrace.plugins import format_duration
from headrace_view.charts.bucket import Bucket
from headrace_view.charts.figures import Figure
from headrace_view.charts.layout import Layout

_PERCENTILES = (("p50", "v0"), ("p95", "v1"))
_NEAR = 1.5
"""Buckets that begin within this many widths are neighbours; the curve has a gap between others."""


def latency_figure(layout: Layout) -> Figure | None:
    """The median and the 95th percentile as curves; None without an answered call."""
    answered = [bucket for bucket in layout.buckets if bucket.latency_p50 is not None]
    if not answered:
        return None
    highest = max(latency for bucket in answered for latency in _latencies(bucket) if latency is not None)
    factor, unit = latency_scale(highest)
    plot = Plot(
        f"Latency over {format_duration(layout.axis.length)}: p95 at most {format_duration(highest)}.",
        count_ticks(max(1.0, highest * factor)),
        layout.axis.above,
    )
    for number, (_, kind) in enumerate(_PERCENTILES):
        plot.curve(_points(layout, answered, number, factor), kind)
    for bucket in answered:
        words = [
            f"{name} {format_duration(latency)}"
            for (name, _), latency in zip(_PERCENTILES, _latencies(bucket), strict=True)
            if latency is not None
        ]
        title = f"after {format_duration(layout.since(bucket))}: {', '.join(words)}"
        plot.band(*layout.span(bucket), "spot", title)
    layout.axis.draw(plot, "time since the first call")
    about = f"Calls answered every {width_label(round(layout.width * 1000))}, in {unit}:"
    return Figure(about, tuple((kind, name) for name, kind in _PERCENTILES), plot.svg())


def _latencies(bucket: Bucket) -> tuple[float | None, float | None]:
    return bucket.latency_p50, bucket.latency_p95


def _points(
    layout: Layout, answered: Sequence[Bucket], number: int, factor: float
) -> Iterator[tuple[float, float | None]]:
    """The middles of the buckets and a percentile of each."""
    before: Bucket | None = None
    for bucket in answered:
        begin, end = layout.span(bucket)
        if before is not None and bucket.start - before.start > _NEAR * layout.width:
            yield begin, None
        latency = _latencies(bucket)[number]
        yield (begin + end) / 2, None if latency is None else latency * factor
        before = bucket
