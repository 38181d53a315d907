"""The values of the charts can be read by keyboard and by touch; what comes meanwhile is not told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from view_browsing import Served, serving
from view_checks import assert_usable
from view_lines import encode, make_line, write_output


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of 12 seconds, without a cost and without a failure; each bar is of a second."""
    return write_output(tmp_path_factory.mktemp("runs") / "a.jsonl", (make_line(n) for n in range(12)))


@pytest.fixture(scope="module")
def window(browser: Browser, out: Path) -> Iterator[Page]:
    """The page about it."""
    with serving(out) as url, Served(url, browser).window() as opened:
        yield opened


def chart_of(window: Page, name: str) -> tuple[Locator, Locator, list[str]]:
    """A chart, the words that are shown of it, and all words that a pointer shows."""
    chart = window.locator(f"#chart-{name}")
    return chart, chart.locator("+ .reading"), chart.locator("title").all_text_contents()


def is_read(window: Page, reading: Locator, words: str) -> None:
    expect(reading).to_be_visible()
    expect(reading).to_have_text(words)
    expect(window.locator("#told")).to_have_text(words)
    expect(window.locator("#charts .marker")).to_have_count(1)


def is_ended(window: Page, reading: Locator) -> None:
    expect(reading).to_be_hidden()
    expect(window.locator("#told")).to_have_text("")
    expect(window.locator("#charts .marker")).to_have_count(0)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", ["throughput", "latency"])
def test_keys_move_the_marker(window: Page, name: str, width: int) -> None:
    window.set_viewport_size({"width": width, "height": 900})
    chart, reading, words = chart_of(window, name)
    expect(chart).to_have_attribute("aria-label", re.compile(f"^{name}.+ over .+ Left and Right", re.I))
    expect(window.locator("#told")).to_have_role("status")
    window.keyboard.press("Shift")  # the next focus is one by keyboard
    chart.focus()
    expect(reading).to_have_text("Left and Right show the values.")
    for key, place in (
        ("ArrowRight", 0),
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
        ("End", -1),
        ("ArrowRight", -1),
        ("ArrowLeft", -2),
        ("Home", 0),
    ):
        window.keyboard.press(key)
        is_read(window, reading, words[place])
    box = reading.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    expect(reading).to_be_in_viewport(ratio=1)
    assert_usable(window, f"a value of {name} at {width}")
    chart.focus()
    window.keyboard.press("ArrowLeft")  # from the end, if nothing is shown
    is_read(window, reading, words[-1])
    window.keyboard.press("Escape")
    is_ended(window, reading)
    expect(chart).to_be_focused()
    window.keyboard.press("Home")
    is_read(window, reading, words[0])
    window.get_by_label("Search").focus()
    is_ended(window, reading)


def test_the_marker_is_at_the_value(window: Page) -> None:
    chart, reading, words = chart_of(window, "throughput")
    for place in (0, 5):
        bar = chart.locator("g").nth(place)
        bar.click()  # a tap does the same
        is_read(window, reading, words[place])
        drawn, marker = bar.bounding_box(), chart.locator(".marker").bounding_box()
        assert drawn
        assert marker
        assert drawn["x"] < marker["x"] < drawn["x"] + drawn["width"]
    window.keyboard.press("ArrowRight")
    is_read(window, reading, words[6])
    window.keyboard.press("Escape")


def test_a_chart_without_values_takes_no_focus(window: Page) -> None:
    for name in ("cost", "failures"):
        chart, _, words = chart_of(window, name)
        assert words == []
        assert chart.get_attribute("tabindex") is None
        assert chart.get_attribute("role") is None


def test_a_live_run_tells_nothing_of_its_own(window: Page, out: Path) -> None:
    chart, reading, words = chart_of(window, "throughput")
    window.evaluate("() => { Date.now = () => 2e12; }")
    chart.focus()
    window.keyboard.press("End")
    is_read(window, reading, words[-1])
    append(window, out, 12)
    assert chart_of(window, "throughput")[2] == words  # it stays for some seconds after a key
    window.evaluate("() => { Date.now = () => 2e12 + 10_000; }")
    window.evaluate(
        "() => new MutationObserver(() => { document.body.dataset.told = 1 })"
        ".observe(document.querySelector('#told'), { childList: true, characterData: true, subtree: true })"
    )
    append(window, out, 13)
    expect(chart.locator("title")).to_have_count(14)
    expect(window.locator("#charts .marker")).to_have_count(1)
    shown = reading.inner_text()
    assert shown in chart_of(window, "throughput")[2]
    assert window.locator("body").get_attribute("data-told") is None
    window.keyboard.press("End")
    is_read(window, reading, chart_of(window, "throughput")[2][-1])


def append(window: Page, out: Path, number: int) -> None:
    with out.open("ab") as file:
        file.write(encode([make_line(number)]))
    expect(window.locator("#figures .value").first).to_have_text(str(number + 1))
