"""The page in a real browser: figures, table, filters, one row, comparison, buttons, and hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from headrace_view.web import Change
from view_browsing import CONTRASTS, UNNAMED, Served, assert_charts, chromium, serving
from view_lines import encode, make_line, write_output
from view_runs import HOSTILE, LiveRun, RayRun, lines, write_shards


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of the same input."""
    made = tmp_path_factory.mktemp("runs")
    write_output(made / "a.jsonl", lines())
    write_output(made / "b.jsonl", lines("Garage"))
    (made / "in.csv").write_text("id,text\nrow 1,<b>hose</b>\n", encoding="utf-8")
    facts = {"headrace": 2, "prompt": "Sort {text}", "model": HOSTILE[0], "id_column": "id"}
    record = {**facts, "command": "headrace run in.csv --out a.jsonl"}
    (made / "a.jsonl.journal").write_text(json.dumps(record) + "\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def served(browser: Browser, folder: Path) -> Iterator[Served]:
    """The page about both runs."""
    with serving(folder / "a.jsonl", folder / "b.jsonl") as url:
        yield Served(url, browser)


@pytest.fixture
def window(served: Served) -> Iterator[Page]:
    """The page in a window of a usual size."""
    with served.window() as opened:
        yield opened


def ids(window: Page) -> list[str]:
    return window.locator("#rows tbody th").all_inner_texts()


def counted(window: Page, text: str) -> None:
    expect(window.locator("#count")).to_have_text(re.compile(text))


def test_figures_and_facts(window: Page) -> None:
    figures = dict(
        zip(
            window.locator("#figures dt").all_inner_texts(),
            window.locator("#figures .value").all_inner_texts(),
            strict=True,
        )
    )
    assert (figures["Items"], figures["Failed"], figures["Succeeded"]) == ("130", "17", "113")
    assert figures["Tokens in"] == "590"
    expect(window.locator("#charts .drawn:has(svg)")).to_have_count(4)
    expect(window.locator("#facts")).to_contain_text(HOSTILE[0])
    expect(window.locator("#facts")).to_contain_text("headrace run in.csv --out a.jsonl")


def test_search_filters_order_and_pages(window: Page) -> None:
    counted(window, "^130 rows, page 1 of 3$")
    window.get_by_role("button", name="Next", exact=True).click()
    counted(window, "page 2 of 3")
    assert ids(window)[0] == "row 50"
    window.get_by_label("Search").fill("row gart")
    counted(window, "^48 rows, page 1 of 1$")
    window.get_by_label("Search").fill("row 49")
    window.get_by_label("Outcome").select_option("failed")
    counted(window, "^1 row,")
    assert ids(window) == ["row 49"]
    window.get_by_label("Search").fill("")
    window.get_by_label("Outcome").select_option("")
    for label, option, number in (
        ("Kind of error", "timeout", 12),
        ("HTTP status", "none", 12),
        ("Finish reason", "length", 1),
        ("Answer", "Garten", 48),
    ):
        window.get_by_label(label, exact=True).select_option(option)
        counted(window, f"^{number} rows?,")
        window.get_by_label(label, exact=True).select_option("")
    window.get_by_text("Latency and cost").click()
    window.get_by_label("Latency from").fill("11.5")
    counted(window, "^5 rows,")
    window.get_by_label("Latency from").fill("")
    window.get_by_label("Cost to").fill("0.0009")
    counted(window, "^10 rows,")
    window.get_by_label("Cost to").fill("")
    counted(window, "^130 rows")
    for direction, first in (("descending", "row 119"), ("ascending", "row 0")):
        window.get_by_role("button", name="Latency", exact=True).click()
        expect(window.locator("#rows tbody th").first).to_have_text(first)
        assert window.locator(f"#rows th[aria-sort={direction}]").inner_text().startswith("Latency")
    window.get_by_label("Search").fill("nothing has this")
    counted(window, "^0 rows, page 1 of 1$")


def test_hostile_text_is_text(window: Page) -> None:
    window.get_by_role("button", name="Next", exact=True).click()
    counted(window, "page 2 of 3")
    window.get_by_role("button", name="Next", exact=True).click()
    counted(window, "page 3 of 3")
    shown = [f"{n} {text}" for n, text in enumerate(HOSTILE)]
    visible = [
        re.sub(r"[\x00-\x08\x0b-\x1f\u2028\u2029\u202a-\u202e]", lambda found: f"U+{ord(found[0]):04X}", each)
        for each in shown
    ]
    assert window.locator("#rows tbody th").all_text_contents()[-len(HOSTILE) :] == visible
    for n, text in enumerate(visible):
        window.locator("#rows .open").nth(20 + n).click()
        expect(window.locator("#row-title")).to_have_text(text, use_inner_text=False)
        expect(window.locator("#row-content")).to_contain_text(text.partition(" ")[2])
        window.keyboard.press("Escape")
    assert window.locator("script").count() == 1
    assert window.locator("img, style, #rows svg, #row svg").count() == 0


def test_one_row_whole_by_keyboard(window: Page) -> None:
    window.locator("#rows .open").nth(1).focus()
    window.keyboard.press("Enter")
    content = window.locator("#row-content")
    expect(content).to_contain_text("Sort <b>hose</b>")
    expect(content).to_contain_text("Garten")
    window.keyboard.press("ArrowRight")
    expect(window.locator("#row-title")).to_have_text("row 2")
    expect(content).to_contain_text("the input of the run was not found")
    window.keyboard.press("Escape")
    expect(window.locator("#row")).not_to_be_visible()
    expect(window.locator("#rows .open").nth(2)).to_be_focused()


def test_two_runs_side_by_side(window: Page) -> None:
    window.get_by_label("Compare with").select_option("b.jsonl")
    counted(window, "^48 of 130 answers differ, 65 are the same, 0 failed in one run, 17 in both; ")
    first = window.locator("#rows tbody tr").first
    expect(first.locator("th, td")).to_have_text(["row 1", "Garten", "Garage"])
    expect(first.locator("mark")).to_have_text(["Garten", "Garage"])
    first.get_by_role("button").click()
    expect(window.locator("#row-content")).to_contain_text("Sort <b>hose</b>")
    window.keyboard.press("Escape")
    window.get_by_label("Search").fill("garage sport")
    counted(window, "Page 1: the search finds nothing here$")
    window.get_by_label("Search").fill("garage")  # only the second run has it
    expect(first.locator("mark")).to_have_text(["Garten", "Garage"])
    counted(window, "Page 1$")
    window.get_by_label("Search").fill("")
    window.get_by_label("Show rows with").select_option("all")
    counted(window, "Page 1 of 3$")
    window.get_by_role("button", name="Next", exact=True).click()
    counted(window, "Page 2 of 3$")
    window.get_by_label("Compare with").select_option("")
    counted(window, "^130 rows")
    window.get_by_label("Run", exact=True).select_option("b.jsonl")
    expect(window.locator("#rows tbody .answer").nth(1)).to_have_text("Garage")


def test_all_runs_together_and_each_of_them(window: Page) -> None:
    window.get_by_label("Run", exact=True).select_option("all runs together")
    lines = window.locator("#all-runs tbody tr")
    expect(lines).to_have_count(2)
    for line, name in zip(lines.all(), ("a.jsonl", "b.jsonl"), strict=True):
        expect(line.locator("th, td").nth(0)).to_have_text(name)
        expect(line.locator("td").nth(2)).to_have_text("130")
        expect(line.locator("td").nth(3)).to_have_text("17 (13.1%)")
    expect(window.locator("#figures .value").first).to_have_text("260")
    expect(window.locator("#all-rows")).not_to_be_visible()
    assert window.evaluate(UNNAMED) == []
    window.locator("#all-runs .open").nth(1).focus()
    window.keyboard.press("Enter")
    expect(window.locator("#name")).to_have_text("b.jsonl")
    expect(window.locator("#rows tbody .answer").nth(1)).to_have_text("Garage")
    expect(window.get_by_label("Run", exact=True)).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (820, "light"), (1440, "dark")])
def test_the_page_is_legible_and_named(served: Served, width: int, scheme: str) -> None:
    with served.window(width, scheme) as window:
        assert window.evaluate(UNNAMED) == []
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        assert min(window.evaluate(CONTRASTS)) >= 4.5
        assert_charts(window)
        assert window.get_by_role("cell").count() >= 250  # also where the style makes blocks of cells
        window.locator("#rows .open").first.click()
        expect(window.locator("#row-content")).to_contain_text("Attempts")
        box = window.locator("#row").bounding_box()
        assert box
        assert box["width"] <= width
        assert min(window.evaluate(CONTRASTS)) >= 4.5


def test_a_live_run_is_followed_and_steered(browser: Browser, tmp_path: Path) -> None:
    first = [make_line(0), make_line(7, code="timeout", cost="0.1")]
    out, live = write_output(tmp_path / "live.jsonl", first), LiveRun()
    with (
        serving(out, live=live, control=True) as url,
        Served(url, browser).window() as window,
    ):
        items = window.locator("#figures .value").first
        expect(items).to_have_text("2")
        assert_charts(window)
        assert window.locator("#figures .note").first.inner_text() == "of 500"
        expect(window.locator("#live-facts")).to_contain_text("http://endpoint: 5 of 10 calls failed")
        with out.open("ab") as file:
            file.write(encode([make_line(1), make_line(0, answer="again")])[:-5])
        expect(items).to_have_text("3")  # the torn line does not count
        out.write_bytes(encode([make_line(n) for n in range(5)]))  # another file now
        expect(items).to_have_text("5")
        counted(window, "^5 rows")
        window.get_by_role("button", name="Pause").click()
        expect(window.locator("#control p")).to_have_text("did pause ")
        window.get_by_role("button", name="Resume").click()
        expect(window.get_by_role("button", name="Pause")).to_be_focused()
        expect(window.locator("#control p")).to_have_text("did resume ")
        window.get_by_label("max-in-flight").fill("40")
        window.keyboard.press("Enter")
        expect(window.locator("#control p")).to_have_text("did set max-in-flight")
        window.on("dialog", lambda dialog: dialog.accept())
        window.get_by_role("button", name="Stop").click()
        expect(window.locator("#control p")).to_have_text("did stop ")
    assert live.changes == [
        Change("pause"),
        Change("resume"),
        Change("set", "max-in-flight", "40"),
        Change("stop"),
    ]


def test_the_page_begins_with_all_shards(browser: Browser, tmp_path: Path) -> None:
    live, folder = RayRun(), write_shards(tmp_path / "answers")
    with serving(folder, live=live, control=True) as url:
        window, messages = browser.new_page(), list[str]()
        window.on("console", lambda message: messages.append(message.text))
        window.on("pageerror", lambda error: messages.append(str(error)))
        window.goto(url)
        expect(window.locator("#name")).to_have_text("answers")
        expect(window.locator("#state")).to_have_text("running")
        expect(window.locator("#figures .value").first).to_have_text("5")
        expect(window.locator("#figures .note").first).to_have_text("of 500")
        expect(window.locator("#all-runs tbody tr")).to_have_count(3)
        expect(window.locator("#facts")).to_contain_text("Sort {text}")
        assert window.evaluate(UNNAMED) == []
        window.get_by_role("button", name="Pause").click()
        expect(window.locator("#state")).to_have_text("paused")
        window.get_by_role("button", name="shard-a.jsonl").click()
        expect(window.locator("#rows tbody tr")).to_have_count(3)
        expect(window.locator("#control")).not_to_be_visible()
        window.get_by_label("Run", exact=True).select_option("all shards together")
        expect(window.get_by_role("button", name="Resume")).to_be_visible()
        window.close()
        assert messages == []
    assert live.changes == [Change("pause")]


def test_without_content_there_is_none(browser: Browser, folder: Path) -> None:
    with (
        serving(folder / "a.jsonl", content=False) as url,
        Served(url, browser).window() as window,
    ):
        window.locator("#rows .open").nth(1).click()
        expect(window.locator("#row-content")).to_contain_text("Attempts")
        assert not re.search("Garten|Sport|hose|Sort", window.locator("body").inner_text())
        assert window.locator("select[name=answer]").count() == 0
