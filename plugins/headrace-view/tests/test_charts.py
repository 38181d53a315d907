"""The charts of a run over time."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from headrace_view.charts import Bucket, render_charts

START = 1.7e9
HOSTILE = ("<script>alert(1)</script>", "\u202egnp.exe", "nul\0", "\ud800", "long" * 100, '"><img src=x>')


class Seen(HTMLParser):
    """Elements and text of the charts."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(str(markup))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def buckets(*starts: float, **counts: object) -> list[Bucket]:
    filled = {"succeeded": 5, "latency_p50": 0.2, "latency_p95": 0.4, "cost": Decimal("0.01")} | counts
    return [Bucket(START + start, 60, **filled) for start in starts]  # type: ignore[arg-type]


def test_without_buckets_each_chart_says_so() -> None:
    assert render_charts([], width_seconds=60) == {
        "throughput": '<p class="about">No item is done.</p>',
        "latency": '<p class="about">No call was answered.</p>',
        "cost": '<p class="about">No cost is known.</p>',
        "failures": '<p class="about">No item failed.</p>',
    }


def test_what_is_not_known_is_not_drawn() -> None:
    charts = render_charts([Bucket(START, 60, succeeded=1)], width_seconds=60)
    assert [name for name, chart in charts.items() if "<svg" in chart] == ["throughput"]


@pytest.mark.parametrize("live", [False, True])
def test_a_single_bucket_is_drawn(live: bool) -> None:
    charts = render_charts(buckets(0, failed=1, by_code={"timeout": 1}), width_seconds=60, live=live)
    assert all("<svg" in chart and "NaN" not in chart for chart in charts.values())
    assert charts["latency"].count("dot v") == 2, "a curve of one point is a dot"
    assert ("unfinished" in charts["throughput"]) is live


def test_a_pause_of_hours_is_left_out() -> None:
    charts = render_charts(buckets(0, 60, 120, 36_000, 36_060), width_seconds=60)
    for name in ("throughput", "latency", "cost"):
        assert "pause 9:57:00" in charts[name]
    (path,) = re.findall(r'class="curve v0" d="([^"]*)"', charts["latency"])
    assert path.count("M") == 2, "the curve has a gap at the pause"


def test_hostile_codes_are_text() -> None:
    failed = [
        bucket
        for number, code in enumerate(HOSTILE)
        for bucket in buckets(number * 60, failed=2, by_code={code: 2})
    ]
    for chart in render_charts(failed, width_seconds=60).values():
        seen = Seen(chart)
        assert not {"script", "img"} & set(seen.elements)
        assert "\u202e" not in chart
        chart.encode()
    assert "<script>alert(1)</script>" in seen.text
    assert "1 other code" in seen.text, "five codes have a colour of their own"
    assert "long" * 11 not in chart


def test_a_code_keeps_its_colour_while_others_come() -> None:
    def colour(chart: str) -> str:
        (found,) = re.findall(r'<i class="key (\w+)"></i>timeout<', chart)
        return str(found)

    first = buckets(0, failed=1, by_code={"timeout": 1})
    later = buckets(60, failed=9, by_code={"a": 9})
    before, after = (render_charts(each, width_seconds=60)["failures"] for each in (first, [*first, *later]))
    assert colour(before) == colour(after) == "failed"


def test_the_cost_is_the_sum_of_the_buckets() -> None:
    chart = render_charts(buckets(0, 60, 120), width_seconds=60)["cost"]
    assert "$0.0300 in all" in chart
    assert "until 2:00: $0.0200" in chart
