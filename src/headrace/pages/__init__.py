"""Pages in the look of `headrace report` and `headrace simulate`, for plugins that show something.

A page extends the template ``base.html.j2``, which brings the style for light and dark, for narrow and wide
windows, and for paper. Charts are SVG that is drawn here: they need no script, and their text is text. Needs
the extra ``cli`` for `page_templates` and `render_page`. Since 0.1.
"""

from headrace._support.public_names import fixup_module_metadata as _fixup_module_metadata
from headrace.pages.bar_charts import Bar, bar_chart, throughput_chart
from headrace.pages.page_files import page_style, page_templates, render_page, write_page
from headrace.pages.pauses import split_at_pauses
from headrace.pages.plot import Plot
from headrace.pages.scales import count_ticks, latency_scale, usd_label, value_ticks, width_label
from headrace.pages.time_axis import TimeAxis

__all__ = [
    "Bar",
    "Plot",
    "TimeAxis",
    "bar_chart",
    "count_ticks",
    "latency_scale",
    "page_style",
    "page_templates",
    "render_page",
    "split_at_pauses",
    "throughput_chart",
    "usd_label",
    "value_ticks",
    "width_label",
    "write_page",
]

_fixup_module_metadata(__all__, globals())
