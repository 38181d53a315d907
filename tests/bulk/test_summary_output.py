"""The summary as text, JSON and HTML."""

from __future__ import annotations

import json
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from headrace.bulk import run
from headrace.bulk.item_result import ItemResult
from headrace.bulk.summary import Summary
from headrace.bulk.summary_json import encode_summary
from headrace.bulk.summary_text import describe
from headrace.errors import DeadlineExceeded, WorkerLost
from headrace.testing import FakeEndpoint

HOSTILE = "<script>alert(1)</script>\x1b[2J\n</td>"


def filled() -> Summary:
    """A summary with answers, failures and a cost."""
    summary = Summary(1200, done_before=5, failed_before=1)
    for _ in range(12):
        cost = Decimal("0.0000001")
        summary.add(ItemResult(0, b"x", 2, 0.5, True, 10, 5, cost, finish_reason="length"))
    for code, status in (("status_error", 400), ("status_error", 404), ("timeout", None)):
        summary.add(ItemResult(0, b"x", 1, 0.5, code=code, status=status, message=HOSTILE))
    refused = ItemResult(0, b"x", 1, 0.5, True, code="answer_error", message="No.", finish_reason="refusal")
    summary.add(refused)
    return summary


def test_cut_off_answers_and_finish_reasons_are_named() -> None:
    text = describe(filled())
    assert "  finish     12 length, 1 refusal\n" in text
    assert "             12 answers were cut off at the output limit; raise max_tokens\n" in text
    assert "1 answer_error refusal: No." in text
    one = Summary(1)
    one.add(ItemResult(0, b"x", 1, 0.5, True, finish_reason="length"))
    assert "1 answer was cut off" in describe(one)


def test_complete_answers_need_no_line() -> None:
    summary = Summary(1)
    summary.add(ItemResult(0, b"x", 1, 0.5, True, finish_reason="stop"))
    assert "finish" not in describe(summary)


def test_many_kinds_of_failures_are_a_few_lines() -> None:
    summary = Summary(1000)
    for status in range(400, 450):
        summary.add(ItemResult(0, b"x", 1, 0.5, code="status_error", status=status, message=HOSTILE * 100))
    lines = describe(summary).splitlines()
    assert len(lines) <= 10
    assert all(line.isprintable() and len(line) < 250 for line in lines)
    assert "45 of 45 other kinds" in lines[7]


def test_many_finish_reasons_take_constant_memory() -> None:
    summary, other = Summary(1000), Summary(1000)
    for number in range(200):
        for each in (summary, other):
            each.add(ItemResult(0, b"x", 1, 0.5, True, finish_reason=f"{each is other} {number}"))
    summary.merge(other)
    assert len(summary.finish_reasons) == 21
    assert summary.finish_reasons.total() == 400


def test_the_json_has_stable_members() -> None:
    summary = filled()
    summary.stopped_by = DeadlineExceeded("too late")
    text = encode_summary(summary, "out.jsonl", "t.csv")
    assert "\n" not in text
    found = json.loads(text)
    assert list(found) == [
        *("total", "done", "left", "done_before", "failed_before", "succeeded", "failed", "failures"),
        *("finish_reasons", "retries", "prompt_tokens", "completion_tokens", "cost", "possible_cost"),
        *("unpriced", "elapsed", "rate", "latency", "stopped_by", "out", "table"),
        *("steps", "samples"),
    ]
    assert (found["done"], found["left"], found["failed"]) == (21, 1179, 4)
    assert (found["cost"], found["possible_cost"], found["table"]) == ("0.0000012", None, "t.csv")
    assert found["finish_reasons"] == {"length": 12, "refusal": 1}
    assert found["failures"][0] == {
        "code": "answer_error",
        "status": None,
        "finish_reason": "refusal",
        "number": 1,
        "message": "No.",
    }
    assert found["stopped_by"] == {"code": "deadline_exceeded", "message": "too late"}
    assert set(found["latency"]) == {"count", "mean", "p50", "p95", "p99"}


def test_the_json_of_an_empty_session_has_nulls() -> None:
    summary = Summary(0, stopped_by="interrupt")
    found = json.loads(encode_summary(summary, "out.jsonl"))
    assert (found["latency"], found["cost"], found["table"]) == (None, None, None)
    assert found["stopped_by"] == {"code": "interrupt", "message": ""}
    summary.stopped_by = WorkerLost("gone")
    assert json.loads(encode_summary(summary, "x"))["stopped_by"]["code"] == "worker_lost"


def test_the_repr_is_one_line_of_the_most_important_totals() -> None:
    summary = filled()
    summary.stopped_by = WorkerLost(HOSTILE)
    text = repr(summary)
    assert text.startswith(
        "<Summary: 21 of 1,200 items done, 12 succeeded, 4 failed, 12 cut off, cost $0.0000"
    )
    assert text.isprintable()
    assert repr(Summary(2)) == "<Summary: 0 of 2 items done, 0 succeeded, 0 failed>"


@pytest.mark.anyio
async def test_the_repr_of_a_result_says_what_it_is() -> None:
    async with FakeEndpoint("ok").client() as client:
        result = await run(client, [{"text": "A"}], prompt="{text}")
    assert repr(result).startswith("<Result: 1 of 1 items done, 1 succeeded, 0 failed")


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_of_notebooks_is_escaped() -> None:
    elements = Elements(filled()._repr_html_())
    assert elements.found == {"table", "tr", "th", "td"}
    assert "<script>alert(1)</script>" in elements.text
    assert "21 of 1,200 done" in elements.text
    assert "12 length, 1 refusal" in elements.text
