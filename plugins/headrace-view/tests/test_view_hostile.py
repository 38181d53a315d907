"""Ids, answers and all else that a run may hold is shown as text, of any length and with any character."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from view_browsing import Served, serving
from view_checks import assert_usable
from view_lines import encode, make_line
from view_runs import HOSTILE

REORDERED = "\u202egnp.exe"
HUGE = 50_000_000
SHOWN = 200_000
_INVISIBLE = r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\u200b\u2028-\u202e\u2060-\u2069\U000e0000-\U000e007f]"


def visible(text: str) -> str:
    """A text with its invisible characters as the page shows them."""
    return re.sub(_INVISIBLE, lambda found: f"U+{ord(found[0]):04X}", text)


def hostile_lines() -> Iterator[dict[str, Any]]:
    for n, text in enumerate(HOSTILE):
        steps = {"steps": {text: text}} if n % 3 == 1 else {}
        votes = {"answers": [text, text], "votes": {text: 2}} if n % 3 == 2 else {}
        kind = {"code": text, "message": text} if n % 2 else {}
        yield make_line(n, f"{n} {text}", text, reason=text, **kind, **steps, **votes)


def absurd_lines() -> Iterator[bytes]:
    """Lines with numbers and characters that no run writes."""
    (line,) = (encode([make_line(0, "an absurd row", cost="0.25")]),)
    for name, value in (("elapsed", "1e308"), ("elapsed", "-5"), ("elapsed", '"NaN"'), ("attempts", "1e400")):
        yield re.sub(rf'"{name}": [^,]+'.encode(), f'"{name}": {value}'.encode(), line)
    for cost in ('"1E+1000000"', '"-1e308"', '"NaN"', '"Infinity"', "1e308"):
        yield line.replace(b'"0.25"', cost.encode())
    for text in ("an absurd row", "yes"):
        yield line.replace(text.encode(), b"\\ud800")
    yield line.replace(b'"status_code": 200', b'"status_code": 99999999999999999999')
    yield line.replace(b'"prompt_tokens": 5', b'"prompt_tokens": -99999999999999999999')


@pytest.fixture(scope="module")
def window(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page about a run with hostile texts and one with others, whose names are hostile too."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / f"<img src=x onerror=alert(1)>{REORDERED}.jsonl", folder / "second.jsonl"
    first.write_bytes(encode(hostile_lines()))
    facts = {"headrace": 2, "prompt": HOSTILE[0], "model": REORDERED, "system": HOSTILE[1]}
    Path(f"{first}.journal").write_text(json.dumps({**facts, "command": HOSTILE[5]}) + "\n", encoding="utf-8")
    others = [make_line(n, f"{n} {text}", f"{text}!") for n, text in enumerate(HOSTILE)]
    reasons = [make_line(20 + n, reason=f"reason {n}", answer=f"answer {n}") for n in range(10_000)]
    long = make_line(10_100, "i" * 10_000, "a long id")
    huge = make_line(10_101, "huge", "<b>" + "\x1b" * 10_000 + "x" * HUGE)
    second.write_bytes(b"".join([encode([*others, *reasons, long, huge]), *absurd_lines()]))
    with serving(first, second) as url, Served(url, browser).window() as opened:
        opened.set_default_timeout(60_000)
        yield opened


def test_texts_of_rows_are_text(window: Page) -> None:
    shown = [visible(f"{n} {text}") for n, text in enumerate(HOSTILE)]
    assert window.locator("#rows tbody th").all_text_contents() == shown
    for n, text in enumerate(HOSTILE):
        window.locator("#rows .open").nth(n).click()
        expect(window.locator("#row-title")).to_have_text(shown[n], use_inner_text=False)
        content = window.locator("#row-content")
        expect(content).to_have_attribute("aria-busy", "false")
        assert content.text_content().count(visible(text)) >= 2  # type: ignore[union-attr]
        window.keyboard.press("Escape")
        expect(window.locator("#rows .open").nth(n)).to_be_focused()
    for width in (390, 1440):
        window.set_viewport_size({"width": width, "height": 900})
        assert_usable(window, f"hostile texts at {width}")
    assert_nothing_was_made_of_it(window)


def test_titles_and_choices_are_text(window: Page) -> None:
    name = visible(f"<img src=x onerror=alert(1)>{REORDERED}.jsonl")
    assert window.title() == f"10 rows, {name}: headrace view"
    assert window.locator("#name").text_content() == name
    choices = window.locator("option").all_text_contents()
    assert name in choices
    for text in HOSTILE:
        assert any(visible(text)[:40] in choice for choice in choices), text
    assert not re.search(_INVISIBLE, "".join(choices))
    expect(window.locator("#facts")).to_contain_text(visible(HOSTILE[0]))
    expect(window.locator("#facts")).to_contain_text(visible(REORDERED))
    assert_nothing_was_made_of_it(window)


def test_a_comparison_and_all_runs_are_text(window: Page) -> None:
    window.get_by_label("Compare with").select_option("second.jsonl")
    window.get_by_label("Show rows with").select_option("all in both runs")
    expect(window.locator("#rows.pairs tbody tr")).to_have_count(len(HOSTILE))
    assert window.locator("#rows tbody tr").nth(5).locator("td").last.text_content() == visible(
        f"{HOSTILE[5]}!"
    )
    window.locator("#rows .open").first.click()
    for n, text in enumerate(HOSTILE):
        expect(window.locator("#row-title")).to_have_text(visible(f"{n} {text}"), use_inner_text=False)
        content = window.locator("#row-content")
        expect(content).to_have_attribute("aria-busy", "false")
        assert content.text_content().count(visible(text)) >= 2  # type: ignore[union-attr]
        window.keyboard.press("ArrowRight")
    assert_nothing_was_made_of_it(window)
    window.keyboard.press("Escape")
    window.get_by_label("Run", exact=True).select_option("all runs together")
    name = visible(f"<img src=x onerror=alert(1)>{REORDERED}.jsonl")
    expect(window.locator("#all-runs .open").first).to_have_text(name, use_inner_text=False)
    assert_nothing_was_made_of_it(window)


def test_a_huge_answer_a_long_id_and_many_reasons_are_shown_in_part(window: Page) -> None:
    window.get_by_label("Run", exact=True).select_option("second.jsonl")
    expect(window.locator("#problem")).to_contain_text("lines are not output lines, and are left out.")
    assert window.locator("select[name=reason] option").count() <= 102
    window.get_by_label("Search").fill("huge")
    expect(window.locator("#rows .open")).to_have_text(["huge"])
    window.locator("#rows .open").click()
    content = window.locator("#row-content")
    expect(content).to_contain_text("more characters are in the output.")
    assert content.evaluate("each => each.querySelector('.text').textContent.startsWith('<b>U+001BU+001B')")
    assert SHOWN < len(content.text_content() or "") < 10 * SHOWN
    window.keyboard.press("Escape")
    expect(window.locator("#rows .open")).to_be_focused()
    window.get_by_label("Search").fill('"a long id"')
    expect(window.locator("#rows tbody .answer")).to_have_text("a long id")
    window.locator("#rows .open").click()
    expect(content).to_contain_text("i" * 10_000)
    window.keyboard.press("Escape")


def test_absurd_numbers_do_not_stop_the_page(window: Page) -> None:
    window.get_by_label("Search").fill("absurd")
    expect(window.locator("#rows tbody th")).to_have_text("an absurd row")
    window.locator("#rows .open").click()
    expect(window.locator("#row-content")).to_contain_text("Attempts")
    assert not re.search("NaN|Infinity|undefined|Invalid", window.locator("body").inner_text())
    window.keyboard.press("Escape")


def assert_nothing_was_made_of_it(window: Page) -> None:
    """No element came from a text; the charts are the page's own."""
    assert window.locator("script").count() == 1
    assert window.locator("img, style, iframe, a, #rows svg, #row svg").count() == 0
