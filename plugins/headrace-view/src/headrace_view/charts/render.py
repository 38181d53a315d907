"""The four charts of a run over time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from headrace_view.charts.bucket import Bucket
from headrace_view.charts.cost import cost_figure
from headrace_view.charts.counts import failures_figure, throughput_figure
from headrace_view.charts.figures import empty_figure
from headrace_view.charts.latency import latency_figure
from headrace_view.charts.layout import Layout

_EMPTY = {
    "throughput": "No item is done.",
    "latency": "No call was answered.",
    "cost": "No cost is known.",
    "failures": "No item failed.",
}


def render_charts(
    buckets: Sequence[Bucket], *, width_seconds: float, live: bool = False
) -> dict[str, Markup]:
    """Draw the charts of a run: "throughput", "latency", "cost" and "failures".

    Long pauses are left out of the time axis. About 120 buckets fill a chart.

    Args:
        buckets: What was done, in order of time. Times in which nothing was done may be left out.
        width_seconds: The width of a bucket, in seconds.
        live: Whether the run goes on, so that its last bucket is not complete; it is drawn paler.

    Returns:
        HTML by the name of the chart: a ``figure`` with a caption, the key of the colours and an SVG, or a
        paragraph if there is nothing to draw. All text in it is escaped. Equal buckets give equal HTML.
    """
    if not buckets:
        return {name: empty_figure(message) for name, message in _EMPTY.items()}
    layout = Layout(buckets, width_seconds)
    figures = {
        "throughput": throughput_figure(layout, live=live),
        "latency": latency_figure(layout),
        "cost": cost_figure(layout),
        "failures": failures_figure(layout, live=live),
    }
    return {
        name: empty_figure(_EMPTY[name]) if figure is None else figure.markup()
        for name, figure in figures.items()
    }
