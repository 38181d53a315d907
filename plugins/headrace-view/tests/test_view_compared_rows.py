"""What the page gets about the rows of an item in two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from view_lines import make_line, write_output
from view_requests import get, opened


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


@pytest.mark.anyio
async def test_both_rows_of_an_item_are_answered_as_a_whole(tmp_path: Path) -> None:
    first = [make_line(n, answer="the blue hose", attempts=2, cost="0.1") for n in range(4)] + [make_line(8)]
    second = [
        make_line(1, answer="the \U0001f600 red hose", cost="0.2"),
        make_line(0, answer="the blue hose"),
        make_line(2, code="timeout", status=None),
        make_line(3, answer="old"),
        make_line(3, answer="the blue hoses"),
    ]
    one, other = write_output(tmp_path / "a.jsonl", first), write_output(tmp_path / "b.jsonl", second)
    path = "runs/0/compare/1/rows"
    with opened(one, other) as app:
        same, changed, failed, newer = [await get(app, f"{path}/{row}") for row in (1, 2, 3, 4)]
        assert [(row["id"]["text"], row["row"], row["attempts"], row["cost"]) for row in changed] == [
            ("row 1", 2, 2, "0.1"),
            ("row 1", 1, 1, "0.2"),
        ]
        assert [row["answer"].get("marks") for row in same] == [[], []]
        assert [row["answer"]["marks"] for row in changed] == [[[4, 8]], [[4, 10]]]
        assert [row["failed"] for row in failed] == [False, True]
        assert "marks" not in failed[0]["answer"]
        assert [row["answer"]["text"] for row in newer] == ["the blue hose", "the blue hoses"]
        alone = "this row is not in both runs now, or has a newer line"
        assert [await get(app, f"{path}/{row}") for row in (5, 99)] == [(404, alone)] * 2
        other.write_bytes(b"")
        assert await get(app, f"{path}/1") == (404, alone)


@pytest.mark.anyio
async def test_answers_of_steps_and_samples_are_marked_one_by_one(tmp_path: Path) -> None:
    first = [
        make_line(0, steps={"sort": "a b", "check": {"fits": True}}),
        make_line(1, answers=["one", "two"]),
        make_line(2, steps={"sort": "a b"}),
    ]
    second = [
        make_line(0, steps={"check": {"fits": False}, "sort": "a c", "more": "x"}),
        make_line(1, answers=["one", "three", "four"]),
        make_line(2, answer="a c"),
    ]
    one, other = write_output(tmp_path / "a.jsonl", first), write_output(tmp_path / "b.jsonl", second)
    with opened(one, other) as app:
        steps, samples, mixed = [await get(app, f"runs/0/compare/1/rows/{row}") for row in (1, 2, 3)]
    assert [{name: marked(text) for name, text in row["steps"]} for row in steps] == [
        {"sort": ["b"], "check": ["true"]},
        {"sort": ["c"], "check": ["false"], "more": []},
    ]
    assert [[marked(text) for text in row["answers"]] for row in samples] == [
        [[], ["two"]],
        [[], ["three"], []],
    ]
    assert [marked(mixed[0]["steps"][0][1]), marked(mixed[1]["answer"])] == [[], []]


def marked(text: dict[str, Any]) -> list[str]:
    return [text["text"][begin:end] for begin, end in text.get("marks", [])]
