"""The rows that a report contains, and the facts about its run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.bulk.report import rows as rows_module
from headrace.bulk.report.output_reader import count_lines
from headrace.bulk.report.page import render
from headrace.bulk.run_facts import read_run_facts
from headrace.errors import AnswerError, ConnectError, StatusError
from headrace.replies import Headers

MakeLine = Callable[..., bytes]


def chat(text: str, reason: str = "stop") -> dict[str, object]:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}]}


def test_a_row_has_its_status_answer_and_error(line: MakeLine) -> None:
    lines = [
        line(2, body=chat("yes")),
        line(0, body=chat("half of", "length")),
        line(1, error=StatusError("no", 400, Headers([]))),
        line(3, error=AnswerError("cut off", "length"), body=chat("half", "length")),
        line(4, body={"data": [{"embedding": [1]}]}),
        line(5, body=chat("", "SAFETY")),
    ]
    found = json.loads(count_lines(lines, "x").rows.encode())
    assert found == [
        [0, "item 0", "cut off", "half of", None],
        [1, "item 1", "status_error 400", None, "no"],
        [2, "item 2", "succeeded", "yes", None],
        [3, "item 3", "answer_error length", "half", "cut off"],
        [4, "item 4", "succeeded", "a vector of 1 number", None],
        [5, "item 5", "filtered", "", None],
    ]


def test_rows_are_bounded(line: MakeLine) -> None:
    lines = [line(0, body=chat("x" * 9000)), line(1, error=ConnectError("y" * 9000))]
    first, second = json.loads(count_lines(lines, "x").rows.encode())
    assert (len(first[3]), len(second[4])) == (2000, 400)


def test_a_long_output_keeps_failed_rows_and_says_how_many_are_left_out(
    line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_ROWS", 5)
    lines = [line(n, error=ConnectError("no") if n > 7 else None, body=chat("a")) for n in range(10)]
    statistics = count_lines(lines, "x")
    assert [row[0] for row in json.loads(statistics.rows.encode())] == [0, 1, 2, 8, 9]
    page = render(statistics, "x", datetime.now(UTC))
    assert "The page holds 5 of 10 rows: failed ones first. 5 rows are left out" in page
    failed = count_lines([line(n, error=ConnectError("no")) for n in range(9)], "x")
    assert [row[0] for row in json.loads(failed.rows.encode())] == [0, 1, 2, 3, 4]


def test_no_text_ends_the_element_of_the_rows(line: MakeLine) -> None:
    texts = ["</script>", "<!--<script>", "]]>", "\u2028"]
    encoded = count_lines([line(n, body=chat(text)) for n, text in enumerate(texts)], "x").rows.encode()
    assert "<" not in encoded
    assert [row[3] for row in json.loads(encoded)] == texts


def test_the_sidecar_tells_about_the_run(tmp_path: Path) -> None:
    facts = {
        "headrace": 1,
        "model": "m",
        "prompt": "Sort {name} sk-abcdefgh12345678",
        "system": None,
        "choices": ["a", "b"],
        "parameters": {"temperature": 0, "metadata": {"api_key": "hidden-value"}},
        "answer": {"type": "object"},
        "command": "headrace run --base-url https://me:pw@host/v1",
    }
    (tmp_path / "out.jsonl.journal").write_text(json.dumps(facts) + "\n12")
    assert read_run_facts(tmp_path / "out.jsonl") == [
        ("Model", "m"),
        ("Prompt", "Sort {name} ***"),
        ("Choices", "a, b"),
        ("Parameters", '{"temperature":0,"metadata":{"api_key":"***"}}'),
        ("Type of the answers", '{"type":"object"}'),
        ("Command", "headrace run --base-url https://***@host/v1"),
    ]


@pytest.mark.parametrize(
    "content", [None, b"", b"no json", b"[1]", b"\xff{}", b'{"prompt": 5, "choices": 7}']
)
def test_a_sidecar_that_cannot_be_read_is_no_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "out.jsonl.journal").write_bytes(content)
    assert isinstance(read_run_facts(tmp_path / "out.jsonl"), list)
