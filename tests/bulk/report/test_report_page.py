"""The text of the page: what is escaped, and how the file is written."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headrace.bulk.report import Statistics, read_statistics, write_page
from headrace.bulk.report.output_reader import count_lines
from headrace.bulk.report.page import render, share
from headrace.errors import ConnectError, InputError

MakeLine = Callable[..., bytes]
NASTY = "<script>alert('1')</script> & \"quoted\" \u2028 \u202e </td>{{ 7 * 7 }}"


class Seen(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def statistics(line: MakeLine) -> Statistics:
    """The statistics of an answer and a failure whose texts contain markup."""
    return count_lines([line(0, body={"model": NASTY}), line(1, error=ConnectError(NASTY))], "out.jsonl")


def test_text_from_outside_is_escaped(statistics: Statistics) -> None:
    seen = Seen(render(statistics, f"{NASTY}.jsonl", datetime.now(UTC)))
    shown = NASTY.replace("\u2028", "U+2028").replace("\u202e", "U+202E")
    assert seen.text.count(shown) == 5, "title, heading, two messages and model"
    assert seen.elements.count("script") == 2, "the rows and their script"
    assert seen.elements.count("svg") == 2


def test_without_content_neither_prompts_nor_answers_are_in_the_page(line: MakeLine, tmp_path: Path) -> None:
    canary, out = "canary-of-the-content", tmp_path / "out.jsonl"
    body = {"choices": [{"message": {"content": canary}, "finish_reason": "stop"}]}
    typed = json.loads(line(3, body=body))
    typed["headrace"]["answer"] = {"note": canary}
    lines = [line(0, body=body), line(1, body=body), line(2, error=ConnectError(canary))]
    lines.append(json.dumps(typed).encode() + b"\n")
    out.write_bytes(b"".join(lines))
    facts = {
        "headrace": 2,
        "model": "m-1",
        **dict.fromkeys(("prompt", "system", "command", "answer"), canary),
    }
    sidecar = {**facts, "choices": [canary], "parameters": {"stop": canary}, "when": canary}
    Path(f"{out}.journal").write_text(json.dumps(sidecar) + "\n", encoding="utf-8")
    pages = []
    for content in (True, False):
        write_page(read_statistics(out, content=content), out, tmp_path / "page.html")
        pages.append((tmp_path / "page.html").read_text(encoding="utf-8"))
    whole, without = pages
    assert whole.count(canary) > 10
    assert canary not in without
    assert "m-1" in without
    assert "connect_error" in without
    assert "left out (--no-content)" in without


def test_a_message_is_cut_and_no_character_breaks_the_page(line: MakeLine) -> None:
    message = "".join(map(chr, range(0x20))) + "x" * 500
    page = render(
        count_lines([line(0, error=ConnectError(message))], "out.jsonl"), "out.jsonl", datetime.now(UTC)
    )
    assert "x" * 367 + "…" in page
    assert "x" * 368 not in page


def test_only_the_owner_can_read_a_page_and_it_replaces_an_older_one(
    statistics: Statistics, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    for name in ("first.jsonl", "second.jsonl"):
        write_page(statistics, name, out)
        assert f"<h1>{name}</h1>" in out.read_text(encoding="utf-8")
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_only_pages_are_replaced(statistics: Statistics, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("<h1>My diary</h1>")
    with pytest.raises(InputError, match="not a page of headrace; name another --out"):
        write_page(statistics, "out.jsonl", out)
    assert out.read_text() == "<h1>My diary</h1>"
    for place, message in (
        (tmp_path, "not a page of headrace"),
        (Path("/dev/null"), "not a page of headrace"),
        (tmp_path / "nowhere" / "page.html", "cannot be written: No such file or directory"),
    ):
        with pytest.raises(InputError, match=message):
            write_page(statistics, "out.jsonl", place)
    assert list(tmp_path.iterdir()) == [out]


def test_shares_are_not_rounded_to_nothing() -> None:
    assert [share(part, 10_000) for part in (0, 1, 10, 1234, 9_999, 10_000)] == [
        *("0%", "under 0.1%", "0.1%", "12.3%", "over 99.9%", "100%")
    ]
