"""The items of a run over time: done, and failed by code."""

from __future__ import annotations

from headrace.pages import Bar, bar_chart, throughput_chart, width_label
from headrace.plugins import format_count, format_duration, shortened
from headrace_view.charts.bucket import Bucket
from headrace_view.charts.figures import Figure
from headrace_view.charts.layout import Layout

_COLOURS = ("failed", "v4", "v3", "v5", "v2")
_OTHER = "v0"
_LONGEST_CODE = 40


def throughput_figure(layout: Layout, *, live: bool) -> Figure:
    """The items that were done, as bars."""
    counts = [(layout.since(each), each.succeeded, each.failed) for each in layout.buckets]
    svg = throughput_chart(layout.axis, counts, layout.width, live=live)
    keys = [("done", "succeeded")]
    if any(bucket.failed for bucket in layout.buckets):
        keys.append(("failed", "failed"))
    return Figure(f"Items done every {_width(layout)}:", tuple(keys), svg)


def failures_figure(layout: Layout, *, live: bool) -> Figure | None:
    """The items that failed, by code, as bars; None without a failure."""
    colours, more = _colours(layout)
    failed = [bucket for bucket in layout.buckets if bucket.failed]
    if not failed:
        return None
    bars = []
    for bucket in layout.buckets:
        counts = dict.fromkeys([*colours.values(), _OTHER], 0)
        for code, number in bucket.by_code.items():
            counts[colours.get(code, _OTHER)] += number
        title = f"after {format_duration(layout.since(bucket))}: {_words(bucket)}"
        bars.append(Bar(layout.since(bucket), tuple(counts.items()), title))
    total = sum(bucket.failed for bucket in failed)
    label = (
        f"Failures over {format_duration(layout.axis.length)}, counted every {_width(layout)}: "
        f"{format_count(total, 'item')}, {', '.join(map(_shown, colours))}{' and others' if more else ''}."
    )
    svg = bar_chart(label, layout.axis, bars, layout.width, live=live)
    keys = [(colour, _shown(code)) for code, colour in colours.items()]
    if more:
        keys.append((_OTHER, format_count(more, "other code")))
    return Figure(f"Items that failed every {_width(layout)}:", tuple(keys), svg)


def _colours(layout: Layout) -> tuple[dict[str, str], int]:
    """The colours of the codes that came first, and the number of the other codes.

    A code keeps its colour while a run goes on, because codes that come later do not change the order.
    """
    codes = dict.fromkeys(code for bucket in layout.buckets for code in sorted(bucket.by_code))
    more = max(0, len(codes) - len(_COLOURS))
    return dict(zip(codes, _COLOURS, strict=False)), more


def _words(bucket: Bucket) -> str:
    numbers = sorted(bucket.by_code.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{number:,} {_shown(code)}" for code, number in numbers) or "none failed"


def _shown(code: str) -> str:
    """A code of an error as text: foreign engines may write any code."""
    return shortened(code, _LONGEST_CODE)


def _width(layout: Layout) -> str:
    return width_label(round(layout.width * 1000))
