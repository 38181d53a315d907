"""The markup of plots, and the time axis."""

from __future__ import annotations

from itertools import accumulate, pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.pages import Bar, Plot, TimeAxis, bar_chart, split_at_pauses, throughput_chart

NASTY = "<script>alert('1')</script> & \"quoted\" </title>"


def drawn(svg: str, path: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(path)


def test_all_texts_are_text() -> None:
    plot = Plot(NASTY, [0, 1], 6)
    plot.bar(0, 1, [("done", 1)], NASTY)
    plot.band(0, 1, "spot", NASTY)
    plot.text(0, 0, NASTY, "start", "marked")
    plot.across([(0, NASTY)], "wide")
    plot.name_axis(NASTY)
    svg = plot.svg()
    assert "<script" not in svg
    assert ET.fromstring(svg).get("aria-label") == NASTY
    assert [title.text for title in drawn(svg, ".//title")] == [NASTY, NASTY]
    assert [text.text for text in drawn(svg, ".//text")][2:] == [NASTY] * 3


def test_a_curve_has_gaps_and_a_dot_for_a_value_alone() -> None:
    plot = Plot("A curve.", [0, 5, 10], 6)
    plot.curve([(0, 0), (0.5, 10), (0.6, None), (0.7, 5), (0.8, None), (0.9, 5), (1, 5)], "v0")
    (path,) = drawn(plot.svg(), ".//path")
    assert path.get("d") == "M0 170L500 0M900 85L1000 85"
    (dot,) = [line for line in drawn(plot.svg(), "line") if "dot" in line.get("class", "")]
    assert (dot.get("x1"), dot.get("x2"), dot.get("y1")) == ("70%", "70%", "91")


def _periods(parts: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Periods of pauses and lengths."""
    ends = list(accumulate(part for pair in parts for part in pair))
    return list(zip(ends[::2], ends[1::2], strict=True))


periods = st.lists(st.tuples(st.floats(0, 1e5), st.floats(1, 1e5)), min_size=1, max_size=5).map(_periods)


@given(periods, st.lists(st.floats(-10, 1e6), min_size=2))
def test_places_are_in_the_order_of_the_times(periods: list[tuple[float, float]], times: list[float]) -> None:
    axis = TimeAxis(periods)
    places = [axis.place(time) for time in sorted(times)]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(places))
    assert axis.place(periods[0][0]) == 0
    assert axis.place(periods[-1][1]) == pytest.approx(1)


def test_a_pause_takes_no_room_and_has_a_label() -> None:
    axis = TimeAxis([(0, 600), (7800, 8400)])
    assert [axis.place(time) for time in (0, 600, 5000, 7800, 8400)] == [0, 0.5, 0.5, 0.5, 1]
    svg = bar_chart("Two.", axis, [Bar(0, [("done", 3)], "a"), Bar(8100, [("done", 5)], "b")], 300)
    texts = [text.text for text in drawn(svg, ".//text")]
    assert texts.count("pause 2:00:00") == 2, "for wide and for narrow pages"
    assert texts[-1] == "time since the first call, less pauses (min:s)"


def test_the_last_bar_of_a_live_chart_is_paler() -> None:
    axis = TimeAxis([(0, 20)])
    counts = [(0.0, 3, 1), (10.0, 1, 0)]
    assert [g.get("class") for g in drawn(throughput_chart(axis, counts, 10, live=True), "g")] == [
        None,
        "unfinished",
    ]
    ended = throughput_chart(axis, counts, 10)
    assert [g.get("class") for g in drawn(ended, "g")] == [None, None]
    assert "at most 4 in one; 1 failed in all" in ended


def test_only_long_and_unusual_waits_are_pauses() -> None:
    assert split_at_pauses([], 1) == [[]]
    assert split_at_pauses([0, 1, 2, 3600, 3601], 1) == [[0, 1, 2], [3600, 3601]]
    assert split_at_pauses([0, 1, 2, 30, 31], 1) == [[0, 1, 2, 30, 31]], "under a minute"
    assert split_at_pauses([0, 100, 200, 300], 60) == [[0, 100, 200, 300]], "usual"
