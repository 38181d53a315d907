"""What a run has cost, over time."""

from __future__ import annotations

from decimal import Decimal
from itertools import accumulate, pairwise

from headrace.pages import Plot, usd_label, value_ticks
from headrace.plugins import format_duration, format_usd
from headrace_view.charts.figures import Figure
from headrace_view.charts.layout import Layout


def cost_figure(layout: Layout) -> Figure | None:
    """The cost of all items until each time, as a curve; None if no item has a known cost."""
    totals = list(accumulate((bucket.cost for bucket in layout.buckets), initial=Decimal(0)))
    total = totals[-1]
    if not total:
        return None
    ticks = value_ticks(float(total))
    plot = Plot(
        f"Cost over {format_duration(layout.axis.length)}: {format_usd(total)} in all.",
        ticks,
        layout.axis.above,
        tick_label=lambda tick: usd_label(tick, ticks[1]),
    )
    points: list[tuple[float, float]] = []
    spots: list[tuple[float, float, str]] = []
    for bucket, (before, after) in zip(layout.buckets, pairwise(totals), strict=True):
        begin, end = layout.span(bucket)
        points += [(begin, float(before)), (end, float(after))]
        until = format_duration(layout.since(bucket) + layout.width)
        spots.append((begin, end, f"until {until}: {format_usd(after)}"))
    plot.curve(points, "v0")
    for begin, end, title in spots:
        plot.band(begin, end, "spot", title)
    layout.axis.draw(plot, "time since the first call")
    return Figure(f"US dollars until each time; {format_usd(total)} in all.", (), plot.svg())
