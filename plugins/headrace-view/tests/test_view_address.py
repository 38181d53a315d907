"""The URL of the page holds what is shown: for a reload, for another tab, and for back and forward."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from view_browsing import Served, serving
from view_lines import write_output
from view_runs import lines

REFUSED = "status of 404"
"""What the browser writes if a row of the URL is not there."""

ROWS_OF_ALL = "130 rows, page 1 of 3"


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page about two runs of the same input."""
    folder: Path = tmp_path_factory.mktemp("runs")
    outputs = [
        write_output(folder / f"{name}.jsonl", lines(word))
        for name, word in (("a", "Garten"), ("b", "Garage"))
    ]
    with serving(*outputs) as url:
        yield Served(url, browser, REFUSED)


def has_url(window: Page, served: Served, fragment: str) -> None:
    expect(window).to_have_url(served.url + fragment)


def counted(window: Page, text: str) -> None:
    expect(window.locator("#count")).to_have_text(re.compile(text))


def title(window: Page, text: str) -> None:
    expect(window.locator("#row-title")).to_have_text(text)


def test_a_reload_and_a_link_show_the_same_view(served: Served) -> None:
    with served.window() as window:
        window.get_by_label("Run", exact=True).select_option("b.jsonl")
        window.get_by_label("Search").fill("row gar")
        window.get_by_label("Outcome").select_option("succeeded")
        window.get_by_text("Latency and cost").click()
        window.get_by_label("Latency from").fill("1.5")
        window.get_by_role("button", name="Latency", exact=True).click()
        counted(window, "^42 rows, page 1 of 1$")
        window.locator("#rows .open").nth(1).click()
        title(window, "row 115")
        view = "#run=1&search=row+gar&outcome=succeeded&latency-from=1.5&order=latency&descending=1&row=116"
        has_url(window, served, view)
        window.reload()
        assert_that_view(window)
        other = window.context.new_page()
        other.goto(window.url)
        assert_that_view(other)
        other.keyboard.press("Escape")
        has_url(other, served, view.removesuffix("&row=116"))
        other.close()


def assert_that_view(window: Page) -> None:
    title(window, "row 115")
    expect(window.get_by_role("button", name="Next row")).to_be_enabled()
    expect(window.locator("#name")).to_have_text("b.jsonl")
    expect(window.locator("#run")).to_have_value("1")
    expect(window.locator("[name=search]")).to_have_value("row gar")
    expect(window.locator("[name=outcome]")).to_have_value("succeeded")
    expect(window.locator("[name=latency-from]")).to_have_value("1.5")
    expect(window.locator("#filters details")).to_have_attribute("open", "")
    expect(window.locator("#rows th[aria-sort=descending]")).to_have_text("Latency")
    expect(window.locator("#rows tbody th").first).to_have_text("row 117")


def test_a_comparison_is_in_the_url(served: Served) -> None:
    with served.window() as window:
        window.get_by_label("Compare with").select_option("b.jsonl")
        window.get_by_label("Show rows with").select_option("all in both runs")
        window.get_by_role("button", name="Next", exact=True).click()
        counted(window, r"Page 2 of 3\.$")
        window.locator("#rows .open").first.click()
        has_url(window, served, "#compare=1&show=all&page=2&row=51")
        window.reload()
        title(window, "row 50")
        expect(window.locator("#row-content .beside").first).to_be_visible()
        counted(window, r"Page 2 of 3\.$")
        window.keyboard.press("Escape")
        has_url(window, served, "#compare=1&show=all&page=2")
        window.get_by_label("Compare with").select_option("")
        has_url(window, served, "")


def test_back_and_forward_move_between_views(served: Served) -> None:
    with served.window() as window:
        search, opener = window.get_by_label("Search"), window.locator("#rows .open")
        search.press_sequentially("gart")
        has_url(window, served, "#search=gart")
        window.get_by_label("Outcome").select_option("succeeded")
        has_url(window, served, "#search=gart&outcome=succeeded")
        opener.nth(2).click()
        title(window, "row 5")
        window.keyboard.press("ArrowRight")
        title(window, "row 7")
        has_url(window, served, "#search=gart&outcome=succeeded&row=8")
        window.go_back()
        expect(window.locator("#row")).to_be_hidden()
        expect(opener.nth(3)).to_be_focused()
        has_url(window, served, "#search=gart&outcome=succeeded")
        window.go_forward()
        title(window, "row 7")
        window.keyboard.press("Escape")
        has_url(window, served, "#search=gart&outcome=succeeded")
        window.go_back()
        expect(window.locator("[name=outcome]")).to_have_value("")
        expect(search).to_have_value("gart")  # what was typed took the place of the entry before
        window.go_back()
        expect(window).to_have_url("about:blank")
        window.go_forward()
        expect(search).to_have_value("gart")
        window.get_by_label("Run", exact=True).select_option("all runs together")
        has_url(window, served, "#run=all")
        window.get_by_role("button", name="b.jsonl").click()
        has_url(window, served, "#run=1")
        counted(window, ROWS_OF_ALL)
        window.go_back()
        expect(window.locator("#all-runs")).to_be_visible()
        window.go_back()
        expect(window.locator("#name")).to_have_text("a.jsonl")
        expect(search).to_have_value("gart")


def test_rows_that_were_read_leave_no_entries(served: Served) -> None:
    with served.window() as window:
        for place in (0, 1, 2):  # as fast as keys can be pressed
            window.locator("#rows .open").nth(place).press("Enter")
            window.keyboard.press("Escape")
        has_url(window, served, "")
        window.locator("#rows .open").nth(3).click()
        has_url(window, served, "#row=4")
        window.go_back()
        has_url(window, served, "")
        window.go_back()
        expect(window).to_have_url("about:blank")
        window.go_forward()
        window.wait_for_selector("#charts svg")


def test_back_while_a_row_is_closed_shows_what_the_url_says(served: Served) -> None:
    with served.window() as window:
        window.get_by_label("Outcome").select_option("failed")
        counted(window, "^17 rows")
        window.locator("#rows .open").first.click()
        has_url(window, served, "#outcome=failed&row=10")
        window.evaluate("() => { document.querySelector('#row-close').click(); history.back(); }")
        expect(window.locator("#row")).to_be_hidden()
        window.wait_for_function(  # the browser goes back once or twice
            "() => ({ '#outcome=failed': 'failed', '': '' })[location.hash]"
            " === document.querySelector('[name=outcome]').value"
        )


def test_the_page_works_if_the_browser_keeps_no_history(served: Served) -> None:
    with served.window() as window:
        window.evaluate(
            "() => { const refuse = () => { throw new DOMException('no', 'SecurityError') };"
            " history.pushState = history.replaceState = refuse }"
        )
        window.get_by_label("Search").fill("gart")
        counted(window, "^48 rows")
        window.locator("#rows .open").first.click()
        title(window, "row 1")
        window.keyboard.press("Escape")
        expect(window.locator("#row")).to_be_hidden()


PLAIN = ("", ROWS_OF_ALL)
NOTHING = "No rows with this search and these filters"
UNUSABLE = {
    "%E0%A4%A&&==&toString=1&__proto__=2": PLAIN,
    "x" * 100_000: PLAIN,
    "search=" + "x" * 100_000: ("#search=" + "x" * 1000, NOTHING),
    "search=<img+src=x+onerror=alert(1)>": (
        "#search=%3Cimg+src%3Dx+onerror%3Dalert%281%29%3E",
        "1 row, page 1 of 1",
    ),
    "order=evil&descending=1&outcome=x&status=2xx": PLAIN,
    "latency-from=abc&latency-to=1e999&cost-from=NaN&cost-to=-1": PLAIN,
    "code=gone&status=555": ("#status=555&code=gone", NOTHING),
    "page=99": ("#page=3", "130 rows, page 3 of 3"),
    "page=999999999&order=cost": ("#order=cost&page=3", "130 rows, page 3 of 3"),
    "page=-1&row=%3Cscript%3E": PLAIN,
    "compare=1&show=x&page=99": ("#compare=1", "48 of 130 answers differ"),
}
"""What is kept of fragments, and what the page then says about its rows."""


def test_values_that_cannot_be_used_are_left_out(served: Served) -> None:
    with served.window() as window:
        for fragment, (kept, count) in UNUSABLE.items():
            window.evaluate("fragment => { location.hash = fragment }", fragment)
            has_url(window, served, kept)
            counted(window, f"^{count}")
            expect(window.locator("#stale")).to_be_hidden()
        assert window.locator("img, #rows script").count() == 0
        for fragment, (kept, count) in list(UNUSABLE.items())[::2]:  # and as the first URL of a window
            window.goto("about:blank")
            window.goto(f"{served.url}#{fragment}")
            counted(window, f"^{count}")
            has_url(window, served, kept)


def test_a_run_that_is_not_there_is_said(served: Served) -> None:
    with served.window() as window:
        stale, search = window.locator("#stale"), window.get_by_label("Search")
        for fragment in ("run=7", "run=x", "run=-1&row=3x", "compare=7", "compare=0"):
            window.evaluate("fragment => { location.hash = fragment }", fragment)
            expect(stale).to_have_text("The link names a run that this page does not have.")
            expect(stale).to_be_visible()
            has_url(window, served, "")
            counted(window, ROWS_OF_ALL)
            search.fill("something")
            expect(stale).to_be_hidden()
            search.fill("")
            has_url(window, served, "")


def test_a_row_that_is_not_there_is_said(served: Served) -> None:
    gone = "this row has a newer line now, or its output was replaced"
    with served.window() as window:
        for fragment, said in (
            ("row=99999", gone),
            ("row=999999999999999", gone),
            ("compare=1&row=99999", "this row is not in both runs now, or has a newer line"),
        ):
            window.evaluate("fragment => { location.hash = fragment }", fragment)
            expect(window.locator("#row-content")).to_have_text(said)
            window.keyboard.press("ArrowRight")
            window.keyboard.press("Escape")
            has_url(window, served, "#compare=1" if "compare" in fragment else "")


def test_a_row_of_another_page_is_shown(served: Served) -> None:
    with served.window() as window:
        window.evaluate("location.hash = 'row=9&page=2'")
        title(window, "row 8")
        expect(window.get_by_role("button", name="Next row")).to_be_disabled()
        counted(window, "page 2 of 3$")
