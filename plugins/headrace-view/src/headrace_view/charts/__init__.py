"""The charts of a run over time, drawn on the server.

The interface of the page: `chart_width` tells how wide the buckets should be, and `render_charts` draws a
list of `Bucket`.
"""

from headrace_view.charts.bucket import Bucket
from headrace_view.charts.layout import chart_width
from headrace_view.charts.render import render_charts

__all__ = ["Bucket", "chart_width", "render_charts"]
