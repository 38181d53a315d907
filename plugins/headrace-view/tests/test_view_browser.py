"""What the page shows in a real browser: figures, facts, prompts, differences of answers, and no content."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from headrace_view.web import Change
from view_browsing import Served, serving
from view_checks import assert_usable
from view_lines import make_line, write_output
from view_runs import HOSTILE, RayRun, lines, write_shards


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
def window(browser: Browser, folder: Path) -> Iterator[Page]:
    """The page about both runs."""
    with (
        serving(folder / "a.jsonl", folder / "b.jsonl") as url,
        Served(url, browser).window() as opened,
    ):
        yield opened


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
    assert window.title() == "130 rows, a.jsonl: headrace view"
    expect(window.locator("#when")).to_have_text("2026-01-01 00:00:00 to 00:02:20")
    expect(window.locator("#chart-throughput title").first).to_have_text(
        re.compile(r"^after .+ s: \d+ succeeded, \d+ failed$")
    )
    expect(window.locator("#facts")).to_contain_text(HOSTILE[0])
    expect(window.locator("#facts")).to_contain_text("headrace run in.csv --out a.jsonl")


def test_a_row_has_its_prompt(window: Page) -> None:
    window.locator("#rows .open").nth(1).press("Enter")
    content = window.locator("#row-content")
    expect(content).to_contain_text("Sort <b>hose</b>")
    expect(content).to_contain_text("Garten")
    window.keyboard.press("ArrowRight")
    expect(content).to_contain_text("the input of the run was not found")
    window.keyboard.press("Escape")
    expect(window.locator("#rows .open").nth(2)).to_be_focused()


def test_differences_are_marked_and_searched_on_both_sides(window: Page) -> None:
    count, first = window.locator("#count"), window.locator("#rows tbody tr").first
    window.get_by_label("Compare with").select_option("b.jsonl")
    expect(first.locator("mark")).to_have_text(["Garten", "Garage"])
    window.get_by_label("Search").fill("garage sport")
    expect(count).to_have_text(re.compile("The search finds no rows here.$"))
    window.get_by_label("Search").fill("garage")  # only the second run has it
    expect(first.locator("mark")).to_have_text(["Garten", "Garage"])
    window.get_by_label("Search").fill("")
    window.get_by_label("Run", exact=True).select_option("b.jsonl")
    expect(window.locator("#rows tbody .answer").nth(1)).to_have_text("Garage")


def test_how_far_an_output_is_read_is_shown(browser: Browser, tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", (make_line(n, answer="x" * 1000) for n in range(1000)))
    with serving(out, reads_on=False) as url, Served(url, browser).window(390) as window:
        expect(window.locator("#progress-text")).to_have_text(re.compile(r"^Reading the output: \d+%\."))
        expect(window.get_by_role("progressbar", name="Index")).to_be_visible()
        expect(window.locator("#count")).to_contain_text("; the output is still being read")
        assert_usable(window, "an output that is being read")


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
        assert_usable(window, "all shards")
        window.get_by_role("button", name="Pause").click()
        expect(window.locator("#state")).to_have_text("paused")
        window.get_by_role("button", name="shard-a.jsonl").click()
        expect(window.locator("#rows tbody tr")).to_have_count(3)
        window.reload()
        expect(window.locator("#rows tbody tr")).to_have_count(3)
        window.go_back()
        expect(window.locator("#all-runs")).to_be_visible()
        window.go_forward()
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
        Served(url, browser).window(390) as window,
    ):
        for width in (390, 1440):
            window.set_viewport_size({"width": width, "height": 900})
            assert_usable(window, f"no content at {width}")
        window.locator("#rows .open").nth(1).click()
        expect(window.locator("#row-content")).to_contain_text("Attempts")
        assert not re.search("Garten|Sport|hose|Sort|message", window.locator("body").inner_text())
        assert window.locator("select[name=answer]").count() == 0
