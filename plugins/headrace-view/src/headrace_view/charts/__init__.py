"""The charts of a run over time, drawn on the server.

The interface of the page: a list of `Bucket`, in order of time, and `render_charts`.
"""

from headrace_view.charts.bucket import Bucket
from headrace_view.charts.render import render_charts

__all__ = ["Bucket", "render_charts"]
