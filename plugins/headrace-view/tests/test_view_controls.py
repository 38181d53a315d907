"""Each table and each control of the page, by mouse and by keyboard, on a phone, a tablet and a screen.

One window of each width walks through all of it; every view on the way is checked in both themes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from view_browsing import USES, Served, assert_charts, serving
from view_checks import assert_usable
from view_lines import make_line, write_output

LONG = "All of this answer is to be read.\n" * 100


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page about two runs of the same 70 items, and an empty one."""
    folder = tmp_path_factory.mktemp("runs")
    for name, word in (("a", "Garten"), ("b", "Garage")):
        write_output(
            folder / f"{name}.jsonl",
            [
                make_line(
                    n,
                    answer=LONG if n == 1 else word if n % 2 else "Sport",
                    code="timeout" if n % 10 == 9 + (name == "b" and n == 9) else None,
                    status=429 if n % 10 == 9 else 200,
                    elapsed=n / 10,
                    cost=f"0.{n:04}",
                    reason="length" if n == 33 else "stop",
                )
                for n in range(70)
            ],
        )
    (folder / "c.jsonl").touch()
    with serving(*(folder / f"{name}.jsonl" for name in "abc")) as url:
        yield Served(url, browser)


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_each_control_works(served: Served, width: int) -> None:
    with served.window(width) as window:
        assert_charts(window)
        assert_usable(window, "one run")
        use_dialog(window)
        use_filters(window)
        use_order_and_pages(window)
        use_comparison(window)
        use_all_runs(window)
        choose(window, "Run", "c.jsonl")
        counted(window, "^No rows yet$")
        assert_usable(window, "no rows")


def use_dialog(window: Page) -> None:
    row, title, content = (window.locator(f"#row{part}") for part in ("", "-title", "-content"))
    opener = window.locator("#rows .open")
    previous, following = button(window, "Previous row"), button(window, "Next row")
    for use in USES:
        use(opener.nth(0))
        expect(title).to_have_text("row 0")
        expect(previous).to_be_disabled()
        use(following)
        expect(content).to_contain_text("All of this answer")
        use(previous)
        expect(title).to_have_text("row 0")
        use(button(window, "Close"))
        expect(row).to_be_hidden()
        expect(opener.nth(0)).to_be_focused()
    window.keyboard.press("Tab")
    window.keyboard.press("Enter")
    expect(content).to_contain_text("All of this answer")
    assert_usable(window, "a row")
    content.hover()
    window.mouse.wheel(0, 200)
    expect(content).not_to_have_js_property("scrollTop", 0)
    content.focus()
    window.keyboard.press("Home")
    expect(content).to_have_js_property("scrollTop", 0)
    window.keyboard.press("PageDown")
    expect(content).not_to_have_js_property("scrollTop", 0)
    window.keyboard.press("ArrowRight")
    expect(title).to_have_text("row 2")
    expect(content).to_have_js_property("scrollTop", 0)
    window.keyboard.press("ArrowLeft")
    expect(title).to_have_text("row 1")
    window.keyboard.press("Escape")
    expect(opener.nth(1)).to_be_focused()
    opener.nth(48).click()
    following.focus()
    window.keyboard.press("Enter")  # the button is disabled now, and keys still work
    expect(title).to_have_text("row 49")
    expect(following).to_be_disabled()
    window.keyboard.press("ArrowRight")
    window.keyboard.press("ArrowLeft")
    expect(title).to_have_text("row 48")
    window.keyboard.press("Escape")
    expect(opener.nth(48)).to_be_focused()


def use_filters(window: Page) -> None:
    search = window.get_by_label("Search")
    search.click()
    window.keyboard.type("row gart")
    counted(window, "^27 rows, page 1 of 1$")
    expect(window.locator("#pages")).to_be_hidden()
    window.keyboard.press("Control+a")
    window.keyboard.type("nothing has this")
    counted(window, "^No rows with this search and these filters$")
    expect(window.locator("#table")).to_be_hidden()
    assert_usable(window, "nothing found")
    search.fill("row 33")
    counted(window, "^1 row, page 1 of 1$")
    expect(window.locator("#rows .open")).to_have_count(1)
    reach_by_tab(window)
    search.fill("")
    for label, key, number in (
        ("Outcome", "f", 7),
        ("HTTP status", "4", 7),
        ("Kind of error", "t", 7),
        ("Finish reason", "l", 1),
        ("Answer", "G", 27),
    ):
        select = window.get_by_label(label, exact=True)
        select.focus()
        window.keyboard.press(key)
        counted(window, f"^{number} rows?,")
        choose(window, label, "")
        counted(window, "^70 rows")
    ranges = window.get_by_text("Latency and cost")
    for use, is_open in ((USES[0], True), (USES[1], False), (USES[1], True)):
        use(ranges)
        expect(window.get_by_label("Cost to")).to_be_visible(visible=is_open)
    for label, value, number in (
        ("Latency from", "6.5", 5),
        ("Latency to", "0.5", 6),
        ("Cost from", "0.0068", 2),
        ("Cost to", "0", 1),
    ):
        window.get_by_label(label).click()
        window.keyboard.type(value)
        counted(window, f"^{number} rows?,")
        window.get_by_label(label).fill("-1")
        counted(window, "^70 rows")
        expect(window.get_by_role("alert").get_by_text(label)).to_have_text(
            re.compile(r": must be a number from 0, and is not used\.$")
        )
        assert window.get_by_label(label).get_attribute("aria-invalid") == "true"
        if label == "Cost to":
            assert_usable(window, "a number that cannot be used")
        window.get_by_label(label).fill("")
    ranges.click()
    expect(window.get_by_label("Cost to")).to_be_hidden()


def reach_by_tab(window: Page) -> None:
    """The Tab key leads to each control that is shown, from the beginning of the page on."""
    shown = """() => [...document.querySelectorAll("button, input, select, summary, [tabindex='0']")]
        .filter(each => each.checkVisibility() && !each.disabled)"""
    wanted = window.evaluate(f"({shown})().map((_, place) => place)")
    reached = []
    window.locator("#run").focus()  # the first one
    for _ in wanted:
        reached.append(window.evaluate(f"({shown})().indexOf(document.activeElement)"))
        window.keyboard.press("Tab")
    assert reached == wanted


def use_order_and_pages(window: Page) -> None:
    first = window.locator("#rows tbody th").first
    orders = (("descending", "row 69"), ("ascending", "row 0"), (None, "row 0"))
    for title, use, (direction, id) in product(("Latency", "Cost"), USES, orders):
        use(button(window, title))
        expect(button(window, title)).to_be_focused()
        expect(window.locator(f"#rows th[aria-sort={direction}]")).to_have_count(1 if direction else 0)
        expect(first).to_have_text(id)
    assert_usable(window, "rows in order")
    for use in USES:
        use(button(window, "Next"))
        counted(window, "^70 rows, page 2 of 2$")
        expect(first).to_have_text("row 50")
        expect(button(window, "Previous")).to_be_focused()  # the other button leads nowhere
        expect(button(window, "Next")).to_be_disabled()
        use(button(window, "Previous"))
        counted(window, "^70 rows, page 1 of 2$")
        expect(button(window, "Next")).to_be_focused()


def use_comparison(window: Page) -> None:
    choose(window, "Compare with", "b.jsonl")
    counted(
        window, r"^27 of 70 answers differ, 36 are the same, 1 failed in one run, 6 in both. Page 1 of 1\.$"
    )
    first = window.locator("#rows tbody tr").first
    expect(first.locator("th, td")).to_have_text(["row 3", "Garten", "Garage"])
    assert_usable(window, "different answers")
    for choice, id, ending in (
        ("failed in one run", "row 9", r"Page 1 of 1\.$"),
        ("same answers", "row 0", r"Page 1 of 1\.$"),
        ("all in both runs", "row 0", r"Page 1 of 2\.$"),
    ):
        choose(window, "Show rows with", choice)
        counted(window, ending)
        expect(first.locator("th")).to_have_text(id)
    assert_usable(window, "all answers")
    for use in USES:
        use(button(window, "Next"))
        counted(window, r"Page 2 of 2\.$")
        expect(button(window, "Previous")).to_be_focused()
        use(first.get_by_role("button"))
        expect(window.locator("#row-title")).to_have_text("row 50")
        use(button(window, "Close"))
        expect(first.get_by_role("button")).to_be_focused()
        use(button(window, "Previous"))
        counted(window, r"Page 1 of 2\.$")
    window.get_by_label("Search").fill("nothing has this")
    counted(window, r"\. The search finds no rows here\.$")
    window.get_by_label("Search").fill("")
    choose(window, "Compare with", "")
    counted(window, "^70 rows")


def use_all_runs(window: Page) -> None:
    run = window.get_by_label("Run", exact=True)
    opener = window.locator("#all-runs .open")
    for number, use in enumerate(USES):
        choose(window, "Run", "all runs together")
        expect(opener).to_have_text(["a.jsonl", "b.jsonl", "c.jsonl"])
        expect(window.locator("#figures .value").first).to_have_text("140")
        if not number:
            lines = window.locator("#all-runs tbody tr")
            expect(lines.nth(1).locator("td").nth(3)).to_have_text("6 (8.6%)")
            assert_usable(window, "all runs")
        use(opener.nth(1))
        expect(window.locator("#name")).to_have_text("b.jsonl")
        expect(run).to_be_focused()
        counted(window, "^70 rows")


def button(window: Page, name: str) -> Locator:
    return window.get_by_role("button", name=name, exact=True)


def choose(window: Page, label: str, option: str) -> None:
    window.get_by_label(label, exact=True).select_option(option)


def counted(window: Page, text: str) -> None:
    expect(window.locator("#count")).to_have_text(re.compile(text))
