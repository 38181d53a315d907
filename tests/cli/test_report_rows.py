"""The rows of a report in a real browser: search, filter and pages, with hostile answers and ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.cli.browsing import CONTRASTS, opened

from headrace.bulk.report import read_statistics, write_page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028]]><!--<script>"
SHOWN = HOSTILE.replace("\u2028", "U+2028")
ROWS = 230
FURTHER = ["Garten", "Garten"]
"""Further answers of the only row with samples."""


def line(number: int) -> dict[str, Any]:
    """An output line: each tenth failed, and the answers are two choices or hostile."""
    text = HOSTILE if number == 3 else ("Garten", "Sport <b>")[number % 2]
    failed = number % 10 == 0
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    return {
        "id": f"headrace-{number}",
        "custom_id": HOSTILE if number == 1 else f"row {number}",
        "response": None if failed else {"status_code": 200, "request_id": None, "body": body},
        "error": {"code": "timeout", "message": f"{HOSTILE} {number}" if number else HOSTILE * 9}
        if failed
        else None,
        "headrace": {"attempts": 1, "elapsed": 0.5}
        | ({"answers": [text, None, *FURTHER]} if number == 7 else {"answer": None if failed else text}),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an output with hostile rows, whose sidecar is hostile too."""
    out = tmp_path_factory.mktemp("report") / "out.jsonl"
    out.write_text("".join(json.dumps(line(number)) + "\n" for number in range(ROWS)), encoding="utf-8")
    facts = {
        "headrace": 2,
        "prompt": HOSTILE,
        "choices": ["Garten", "Sport <b>"],
        "parameters": {"user": HOSTILE},
        "command": f"headrace run --base-url https://user:pass@host/v1 '{HOSTILE}' sk-abcdefgh12345678",
    }
    Path(f"{out}.journal").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    write_page(read_statistics(out), out, out.with_suffix(".html"))
    return out.with_suffix(".html")


@pytest.fixture
def window(browser: Browser, page: Path) -> Iterator[Page]:
    """The page in a window of a usual size."""
    window = opened(browser, page, 1440, with_script=True)
    yield window
    window.context.close()


def shown(window: Page) -> list[str]:
    """The ids of the rows that are shown."""
    return window.locator("#items tbody th").all_inner_texts()


def test_hostile_text_is_text(window: Page) -> None:
    assert window.locator("script").count() == 2
    assert window.locator("img, b").count() == 0
    assert SHOWN in window.locator("#items tbody th").nth(1).text_content()  # type: ignore[operator]
    facts = window.locator(".facts").inner_text()
    assert "<img src=x onerror=alert(1)>" in facts
    assert "https://***@host/v1" in facts
    assert "sk-abcdefgh12345678" not in facts
    window.get_by_text("alert(1)").last.click()
    assert window.evaluate("window.alerted") is None


def test_rows_have_pages(window: Page) -> None:
    assert shown(window)[0] == "row 0"
    assert len(shown(window)) == 50
    assert window.get_by_role("status").inner_text() == f"{ROWS} of {ROWS} rows, page 1 of 5"
    assert window.get_by_role("button", name="Previous").is_disabled()
    for _ in range(4):
        window.get_by_role("button", name="Next").click()
    assert shown(window) == [f"row {number}" for number in range(200, ROWS)]
    assert window.get_by_role("button", name="Next").is_disabled()
    window.get_by_role("button", name="Previous").click()
    assert shown(window)[0] == "row 150"


def test_rows_are_filtered_by_failure_and_by_answer(window: Page) -> None:
    show = window.get_by_label("Show")
    assert show.locator("option").all_inner_texts()[:2] == ["all", "failed"]
    show.select_option("failed")
    assert shown(window) == [f"row {number}" for number in range(0, ROWS, 10)]
    assert f"{SHOWN} 10" in window.locator("#items .example").nth(1).text_content()  # type: ignore[operator]
    show.select_option(label="Sport <b>")
    assert window.get_by_role("status").inner_text().startswith("114 of")
    assert {int(name.split()[1]) % 2 for name in shown(window)[1:]} == {1}
    assert "row 7" in shown(window)
    show.select_option(label="Garten")
    assert "row 7" in shown(window), "one of its answers is that"
    row = window.locator("#items tbody tr").nth(shown(window).index("row 7"))
    assert row.locator("td").last.inner_text() == '["Sport <b>",null,"Garten","Garten"]'


def test_rows_are_found_by_id_answer_and_message(window: Page) -> None:
    search = window.get_by_label("Search")
    for text, number in (("ROW 22", 11), ("garten", 93), (" 220", 1), ("no such text", 0)):
        search.fill(text)
        assert window.get_by_role("status").inner_text().startswith(f"{number} of {ROWS}"), text
    search.fill("row 1")
    window.get_by_label("Show").select_option("failed")
    assert shown(window) == ["row 10", *(f"row {number}" for number in range(100, 200, 10))]


def test_the_rows_are_used_with_the_keyboard(window: Page) -> None:
    window.get_by_label("Search").focus()
    window.keyboard.type("onerror")
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.id") == "filter"
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert not window.locator("#items details").first.evaluate("each => each.open")
    window.keyboard.press("Enter")
    assert window.locator("#items details").first.evaluate("each => each.open")
    window.get_by_label("Search").fill("")
    window.get_by_role("button", name="Next").focus()
    window.keyboard.press("Enter")
    assert window.get_by_role("status").inner_text().endswith("page 2 of 5")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (820, "dark"), (1440, "light")])
def test_the_rows_are_legible(browser: Browser, page: Path, width: int, scheme: str) -> None:
    window = opened(browser, page, width, scheme, with_script=True)
    window.get_by_text("Failed items").click()
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    assert min(window.evaluate(CONTRASTS)) >= 4.5
    for element in window.locator("#items tbody tr").first.locator("th, td").all():
        box = element.bounding_box()
        assert box
        assert box["width"] >= 100
        assert box["x"] + box["width"] <= width
    window.context.close()


def test_without_a_script_the_page_says_so_and_lists_the_failed_items(browser: Browser, page: Path) -> None:
    window = opened(browser, page, 390)
    assert window.get_by_text("The rows need JavaScript").is_visible()
    assert not window.get_by_label("Search").is_visible()
    window.get_by_text("Failed items").click()
    assert window.get_by_role("rowheader", name="row 220", exact=True).is_visible()
    window.context.close()
