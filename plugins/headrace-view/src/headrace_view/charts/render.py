"""The four charts of a run over time."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_view.charts.bucket import Bucket


def render_charts(buckets: Sequence[Bucket], *, width_seconds: float, live: bool = False) -> dict[str, str]:
    """Draw the charts of a run: "throughput", "latency", "cost" and "failures", as inline SVG.

    Args:
        buckets: What was done, in order of time. Times in which nothing was done may be left out.
        width_seconds: The width of a bucket, in seconds.
        live: Whether the run goes on, so that its last bucket is not yet whole.

    Returns:
        Markup by the name of the chart. All text in it is escaped.
    """
    raise NotImplementedError
