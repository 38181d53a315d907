"""A row of a comparison opens the rows of both runs: by keyboard and by pointer, on a phone and a screen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from view_browsing import Served, serving
from view_checks import assert_usable
from view_lines import make_line, write_output

ANSWERS = ("the blue hose is long", "the red hose is long")
WIDTHS = (390, 1440)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one input with the same prompt, and a third with another one."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "in.csv").write_text("id,text\nrow 0,hose\nrow 1,pipe\n", encoding="utf-8")
    made = []
    for name, answer, prompt in (
        ("a", ANSWERS[0], "Sort {text}"),
        ("b", ANSWERS[1], "Sort {text}"),
        ("c", ANSWERS[1], "Find {text}"),
    ):
        is_first = name == "a"
        rows = [
            make_line(0, answer=answer, attempts=1 + is_first, elapsed=1 + is_first, cost="0.25"),
            make_line(1, answer=answer, code=None if is_first else "timeout", message="no luck"),
        ]
        made.append(write_output(folder / f"{name}.jsonl", rows))
        facts = {"headrace": 2, "prompt": prompt, "model": "m", "id_column": "id"}
        record = {**facts, "command": f"headrace run in.csv --out {name}.jsonl"}
        Path(f"{made[-1]}.journal").write_text(json.dumps(record) + "\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def window(browser: Browser, outputs: list[Path]) -> Iterator[Page]:
    """The page about them."""
    with serving(*outputs) as url, Served(url, browser).window() as opened:
        yield opened


def compare(window: Page, other: str, show: str = "all in both runs") -> None:
    window.get_by_label("Compare with").select_option(other)
    window.get_by_label("Show rows with").select_option(show)
    expect(window.locator("#rows tbody tr")).to_have_count(2)


def part(window: Page, title: str) -> Locator:
    """A section of the open row."""
    heading = window.get_by_role("heading", name=title, exact=True)
    return window.locator("#row-content section").filter(has=heading)


@pytest.mark.parametrize("width", WIDTHS)
def test_both_rows_are_beside_each_other(window: Page, width: int) -> None:
    window.set_viewport_size({"width": width, "height": 900})
    compare(window, "b.jsonl")
    opener = window.locator("#rows .open")
    opener.first.click()
    expect(part(window, "Prompt of both").locator(".text")).to_have_text(["Sort hose", "row 0", "hose"])
    sides = part(window, "Answer").locator(".beside > div")
    expect(sides.locator("h4")).to_have_text(["a.jsonl", "b.jsonl"])
    expect(sides.locator(".text")).to_have_text(ANSWERS)
    expect(sides.locator("mark")).to_have_text(["blue", "red"])
    calls = part(window, "Call").locator(".beside > div")
    for side, (attempts, latency) in enumerate((("2", "2.00 s"), ("1", "1.00 s"))):
        texts = calls.nth(side).locator("dd").all_inner_texts()
        assert [attempts, latency, "$0.25"] == [texts[place] for place in (3, 4, 6)]
    boxes = [side.bounding_box() for side in sides.all()]
    assert boxes[0]
    assert boxes[1]
    is_narrow = width == WIDTHS[0]
    assert (boxes[0]["x"] == boxes[1]["x"]) is is_narrow
    assert (boxes[0]["y"] < boxes[1]["y"]) is is_narrow
    assert_usable(window, f"both rows at {width}")
    window.keyboard.press("ArrowRight")  # failed in one run: nothing is marked
    expect(part(window, "Error").locator(".beside > div")).to_have_text(
        [re.compile("^a.jsonlnone$"), re.compile("^b.jsonltimeoutno luck$")]
    )
    expect(part(window, "Answer").locator("mark")).to_have_count(0)
    assert_usable(window, f"a failed row at {width}")
    window.keyboard.press("Escape")
    expect(opener.nth(1)).to_be_focused()
    window.keyboard.press("Shift+Tab")
    window.keyboard.press("Enter")
    expect(window.locator("#row-title")).to_have_text("row 0")
    expect(sides.locator(".text")).to_have_text(ANSWERS)
    window.keyboard.press("Escape")
    expect(opener.first).to_be_focused()


def test_prompts_that_differ_are_both_shown(window: Page) -> None:
    compare(window, "c.jsonl")
    window.locator("#rows .open").first.click()
    sides = part(window, "Prompt").locator(".beside > div")
    expect(sides.locator("> .text")).to_have_text(["Sort hose", "Find hose"])
    expect(part(window, "Prompt of both")).to_have_count(0)
    window.keyboard.press("Escape")
    window.get_by_label("Compare with").select_option("")
    window.locator("#rows .open").first.click()
    expect(part(window, "Prompt")).to_contain_text("Sort hose")
    expect(window.locator("#row-content .beside")).to_have_count(0)
    window.keyboard.press("Escape")


def test_without_content_there_is_none(browser: Browser, outputs: list[Path]) -> None:
    with (
        serving(*outputs, content=False) as url,
        Served(url, browser).window(WIDTHS[0]) as window,
    ):
        compare(window, "b.jsonl")
        window.locator("#rows .open").nth(1).click()
        expect(part(window, "Call").locator(".beside > div")).to_have_count(2)
        expect(part(window, "Error")).to_contain_text("timeout")
        assert not re.search("hose|pipe|Sort|luck|Prompt|Answer$", window.locator("#row").inner_text())
        assert_usable(window, "both rows without content")
