"""The page of a run that goes on: what one reads and types stays, buttons steer it, and its end is seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from headrace_view.web import Change
from view_browsing import USES, Served, serving
from view_checks import assert_usable
from view_lines import encode, make_line, write_output
from view_runs import LiveRun

REFUSED = "status of 409"


@pytest.fixture(scope="module")
def live() -> LiveRun:
    """The run."""
    return LiveRun()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its output."""
    first = [make_line(n, cost="0.1", elapsed=1 + n, code="timeout" if n == 7 else None) for n in range(10)]
    return write_output(tmp_path_factory.mktemp("live") / "live.jsonl", first)


@pytest.fixture(scope="module")
def window(browser: Browser, out: Path, live: LiveRun) -> Iterator[Page]:
    """The page of the live run, which goes on from test to test."""
    with serving(out, live=live, control=True) as url, Served(url, browser, REFUSED).window() as opened:
        yield opened


def append(out: Path, *numbers: int) -> None:
    with out.open("ab") as file:
        file.write(encode(make_line(n, elapsed=100.0 + n) for n in numbers))


def items(window: Page, number: int) -> None:
    expect(window.locator("#figures .value").first).to_have_text(str(number))


def test_a_live_run_is_shown_at_each_width(window: Page) -> None:
    facts = window.locator("#live-facts")
    expect(facts).to_contain_text("http://endpoint: 5 of 10 calls failed")
    expect(facts).to_contain_text("max-in-flight: 100")
    expect(window.locator("#figures .note").first).to_have_text("of 500")
    for width in (390, 768, 1440):
        window.set_viewport_size({"width": width, "height": 900})
        assert_usable(window, f"a live run at {width}")


def test_buttons_steer_the_run(window: Page, live: LiveRun) -> None:
    said, budget = window.locator("#control p"), window.get_by_label("budget", exact=True)
    budget.fill("2")
    for use in USES:
        use(window.get_by_role("button", name="Pause"))
        expect(said).to_have_text("did pause ")
        use(window.get_by_role("button", name="Resume"))
        expect(said).to_have_text("did resume ")
        expect(window.get_by_role("button", name="Pause")).to_be_focused()
    assert budget.input_value() == "2"  # what was typed stays
    budget.fill("ten")
    budget.press("Enter")
    expect(said).to_have_text("budget: must be a number")
    assert budget.get_attribute("aria-invalid") == "true"
    assert_usable(window, "a refused change")
    budget.fill("10")
    budget.press("Enter")
    expect(said).to_have_text("did set budget")
    expect(budget).to_have_attribute("placeholder", "$10")
    assert (budget.input_value(), budget.get_attribute("aria-invalid")) == ("", "false")
    for limit, use in product(("max-in-flight", "budget", "requests-per-minute"), USES):
        value = str(len(live.changes))
        field = window.get_by_label(limit, exact=True)
        field.fill(value)
        use(window.get_by_role("button", name=f"Set {limit}"))
        expect(field).to_have_value("")
        expect(said).to_have_text(f"did set {limit}")
        assert live.changes[-1] == Change("set", limit, value)
    window.once("dialog", lambda dialog: dialog.dismiss())
    window.get_by_role("button", name="Stop").click()
    window.once("dialog", lambda dialog: dialog.accept())
    window.get_by_role("button", name="Stop").press("Enter")
    expect(said).to_have_text("did stop ")
    steered = [each.type for each in live.changes if each.type != "set"]
    assert steered == ["pause", "resume"] * 2 + ["stop"]


def test_what_one_reads_and_types_stays_when_rows_come(window: Page, out: Path) -> None:
    opener, count = window.locator("#rows .open"), window.locator("#count")
    search = window.get_by_label("Search")
    window.get_by_role("button", name="Latency", exact=True).click()
    expect(opener.first).to_have_text("row 9")
    opener.nth(2).focus()
    append(out, 10)
    expect(opener.first).to_have_text("row 10")  # the focus goes down with its row
    expect(opener.nth(3)).to_be_focused()
    opener.nth(3).press("Enter")
    expect(window.locator("#row-content")).to_contain_text("Attempts")
    window.get_by_text("Body", exact=True).click()
    window.locator("#row-content").evaluate("each => { each.scrollTop = 50 }")
    append(out, 11)
    items(window, 12)
    expect(count).to_have_text("12 rows, page 1 of 1")
    assert window.locator("#row-title").inner_text() == "row 7"
    assert window.locator("#row details").evaluate("each => each.open")
    assert window.locator("#row-content").evaluate("each => each.scrollTop") == 50
    expect(opener.first).to_have_text("row 10")
    window.keyboard.press("Escape")
    expect(opener.first).to_have_text("row 11")  # what was held back
    expect(opener.nth(4)).to_be_focused()
    select = "document.getSelection().selectAllChildren(document.querySelectorAll('#rows .open')[1])"
    with window.expect_response(
        re.compile("/count.*search=row")
    ):  # the rows that were searched for are there
        search.fill("row")
    search.focus()
    window.evaluate(select)
    append(out, 12)
    expect(count).to_have_text("13 rows, page 1 of 1")
    assert window.evaluate("String(document.getSelection())") == "row 10"
    window.evaluate("document.getSelection().removeAllRanges()")
    expect(opener.first).to_have_text("row 12")
    search.focus()
    chart = window.locator("#chart-throughput svg")
    chart.scroll_into_view_if_needed()
    expect(chart).to_have_attribute("aria-label", re.compile("over 13 s"))
    window.evaluate("const now = Date.now(); Date.now = () => now")  # a chart is held only for some seconds
    chart.locator("rect").first.hover()
    held = chart.element_handle()
    place = window.evaluate("scrollY")
    append(out, 13)
    items(window, 14)
    expect(search).to_be_focused()
    assert (search.input_value(), window.evaluate("scrollY")) == ("row", place)
    assert held.evaluate("each => each.isConnected")  # someone reads its values
    search.scroll_into_view_if_needed()
    expect(opener.first).to_have_text("row 13")
    opener.nth(1).hover()
    window.mouse.down()
    append(out, 14)
    expect(count).to_have_text("15 rows, page 1 of 1")
    window.mouse.up()  # on the same button, so that it is a click
    expect(window.locator("#row-title")).to_have_text("row 12")
    window.keyboard.press("Escape")
    expect(opener.first).to_have_text("row 14")
    search.fill("")


def test_what_is_out_of_sight_is_brought_up_to_date_when_it_is_seen(window: Page, out: Path) -> None:
    number = out.read_bytes().count(b"\n")
    first, rows = window.locator("#rows .open").first, window.locator("#all-rows")
    window.mouse.move(0, 0)
    window.evaluate("scrollTo(0, 0)")
    expect(rows).not_to_be_in_viewport()
    append(out, number)
    items(window, number + 1)
    expect(first).to_have_text(f"row {number - 1}")
    first.scroll_into_view_if_needed()
    expect(first).to_have_text(f"row {number}")
    chart = window.locator("#chart-throughput")
    expect(chart).not_to_be_in_viewport()
    held = chart.locator("svg").element_handle()
    with window.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        be_hidden(window, True)
    assert window.title() == "live.jsonl: headrace view"
    append(out, number + 1)
    with window.expect_request(re.compile("/events$")):
        be_hidden(window, False)
    items(window, number + 2)
    assert held.evaluate("each => each.isConnected")
    chart.scroll_into_view_if_needed()
    window.wait_for_function("each => !each.isConnected", arg=held)


def be_hidden(window: Page, hidden: bool) -> None:
    window.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_the_end_of_a_run_and_the_loss_of_its_output_are_seen(window: Page, out: Path, live: LiveRun) -> None:
    number = out.read_bytes().count(b"\n")
    live.ended = True
    expect(window.locator("#live")).to_be_hidden()
    with out.open("ab") as file:
        file.write(encode([make_line(3, answer="again")])[:-5])
    items(window, number)  # a line that is not whole does not count
    out.write_bytes(encode([make_line(n) for n in range(5)]))  # as --fresh does
    items(window, 5)
    expect(window.locator("#count")).to_have_text("5 rows, page 1 of 1")
    content = out.read_bytes()
    out.unlink()
    expect(window.get_by_role("alert").first).to_contain_text("the output cannot be read")
    assert_usable(window, "a lost output")
    out.write_bytes(content + encode([make_line(5)]))
    items(window, 6)
    expect(window.locator("#problem")).to_be_hidden()


def test_the_page_finds_its_server_again(browser: Browser, tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(0)])
    problem = "#problem"
    with ExitStack() as windows:
        with serving(out) as url:
            window = windows.enter_context(Served(url, browser, "ERR_").window())
        expect(window.locator(problem)).to_contain_text("The server of this page does not answer.")
        window.evaluate("scrollTo(0, 1e6)")
        expect(window.locator(problem)).to_be_in_viewport()
        window.locator("#rows .open").click()
        expect(window.locator("#row-content")).to_contain_text("The server of this page does not answer.")
        window.keyboard.press("Escape")
        append(out, 1)
        with serving(out, port=int(url.split(":")[2].split("/")[0])):
            items(window, 2)
            expect(window.locator(problem)).to_be_hidden()
            expect(window.locator("#rows .open")).to_have_count(2)
            windows.close()
