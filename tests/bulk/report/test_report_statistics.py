"""The counts of a report, and the files that it rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk import run
from headrace.bulk.report.output_reader import count_lines, read_statistics
from headrace.bulk.report.page import render
from headrace.errors import (
    AnswerError,
    CallTimeout,
    ConnectError,
    InputError,
    RateLimited,
    StatusError,
)
from headrace.replies import Headers
from headrace.testing import FakeEndpoint

MakeLine = Callable[..., bytes]


def answer(model: str, prompt: int, completion: int) -> dict[str, Any]:
    return {"model": model, "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


items = st.fixed_dictionaries(
    {
        "body": st.none() | st.builds(answer, st.sampled_from("abc"), st.integers(0, 99), st.integers(0, 99)),
        "error": st.sampled_from(
            [None, ConnectError("refused"), CallTimeout("late"), AnswerError("no choice")]
        ),
        "cost": st.none() | st.decimals(0, 1, places=6).map(str),
        "attempts": st.integers(1, 20),
        "elapsed": st.floats(0.001, 100),
        "at": st.floats(0, 1000),
    }
)


@given(st.data())
def test_totals_equal_a_naive_count(line: MakeLine, data: st.DataObject) -> None:
    lines = [line(n, **each) for n, each in enumerate(data.draw(st.lists(items, min_size=1)))]
    found = count_lines(lines, "out.jsonl")
    seen = [json.loads(each) for each in lines]
    answered = [each for each in seen if each["response"]]
    summary = found.summary
    assert found.items == len(seen)
    assert summary.failed == sum(each["error"] is not None for each in seen)
    assert summary.failures == Counter(each["error"]["code"] for each in seen if each["error"])
    assert all(group.message and group.status is None for group in summary.failure_groups)
    assert summary.retries == sum(each["headrace"]["attempts"] - 1 for each in seen)
    assert found.attempts == Counter(min(each["headrace"]["attempts"], 10) for each in seen)
    assert summary.latencies.count == len(answered)
    usages = [each["response"]["body"].get("usage", {}) for each in answered]
    assert summary.prompt_tokens == sum(usage.get("prompt_tokens", 0) for usage in usages)
    assert summary.completion_tokens == sum(usage.get("completion_tokens", 0) for usage in usages)
    costs = [Decimal(each["headrace"]["cost"]) for each in answered if "cost" in each["headrace"]]
    assert summary.cost == (sum(costs) if costs else None)
    assert summary.unpriced == len(answered) - len(costs)
    models = Counter(each["response"]["body"].get("model", "not named in the answer") for each in answered)
    assert {model: totals.answers for model, totals in found.models.items()} == models
    assert sum(totals.prompt_tokens for totals in found.models.values()) == summary.prompt_tokens
    assert sum((totals.cost or Decimal(0) for totals in found.models.values()), Decimal(0)) == sum(costs)


def test_an_answer_from_a_cache_takes_no_tokens(line: MakeLine) -> None:
    found = count_lines(
        [line(0, body=answer("m", 7, 3), attempts=0), line(1, body=answer("m", 7, 3))], "out.jsonl"
    )
    assert (found.summary.prompt_tokens, found.models["m"].completion_tokens) == (7, 3)
    assert (found.models["m"].answers, found.summary.retries) == (2, 0)


def test_only_successful_answers_have_latency_tokens_and_a_model(line: MakeLine) -> None:
    refused = RateLimited("slow down", 429, Headers([]), json.dumps(answer("m", 1, 1)).encode())
    found = count_lines([line(0, error=refused)], "out.jsonl")
    assert found.summary.latencies.count == found.summary.prompt_tokens == 0
    assert not found.models


@pytest.mark.parametrize(
    "body", [[1], "text", {"usage": "none"}, {"model": None, "usage": None}, {"model": 3}]
)
def test_a_body_of_another_shape_counts_without_model_and_tokens(line: MakeLine, body: Any) -> None:
    found = count_lines([line(0, body=body)], "out.jsonl")
    assert found.summary.succeeded == 1
    assert list(found.models) == ["not named in the answer"]


def test_memory_does_not_grow_with_models_and_messages(line: MakeLine) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(200):
            yield line(number, body=answer(f"model {number}", 1, 1))
        yield line(200, error=ConnectError("x" * 10_000))

    found = count_lines(lines(), "out.jsonl")
    assert len(found.models) == 51
    assert found.models["other models"].answers == 150
    assert [len(group.message) for group in found.summary.failure_groups] == [400]


def test_failures_are_grouped_with_the_message_of_the_first(line: MakeLine) -> None:
    body = json.dumps({"error": "…"}).encode()
    lines = [
        *(line(n, error=StatusError(f"no {n}", 404, Headers([]), body)) for n in range(2)),
        line(2, error=StatusError("too large", 413, Headers([]), body)),
        line(3, error=AnswerError("no choice"), body=answer("m", 1, 1)),
    ]
    found = count_lines(lines, "out.jsonl").summary
    assert [(group.code, group.status, group.number, group.message) for group in found.failure_groups] == [
        ("status_error", 404, 2, "no 0"),
        ("answer_error", None, 1, "no choice"),
        ("status_error", 413, 1, "too large"),
    ]
    assert found.failures == {"status_error": 3, "answer_error": 1}


def test_lines_without_a_time_are_counted_as_undated(line: MakeLine) -> None:
    old = json.loads(line(0))
    del old["headrace"]["completed_at"]
    found = count_lines([json.dumps(old).encode() + b"\n", line(1)], "out.jsonl")
    assert (found.items, found.undated) == (2, 1)


def test_half_a_line_at_the_end_is_left_out(line: MakeLine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(line(0) + line(1)[:-1])
    found = read_statistics(out)
    assert (found.items, found.torn) == (1, True)
    out.write_bytes(line(0) + line(1))
    assert not read_statistics(out).torn


FOREIGN = [
    b"id,name\n1,hose\n",
    b'{"id": "batch_req_1", "custom_id": "a", "response": null, "error": null}\n',
    b'{"id": "headrace-1", "custom_id": "a", "response": null, "error": null}\n',
    b'{"id": "headrace-1", "custom_id": "a", "response": null, "error": null, '
    b'"headrace": {"attempts": 1, "elapsed": -1}}\n',
    b'{"id": "headrace-1", "custom_id": "a", "response": null, "error": null, '
    b'"headrace": {"attempts": 1, "elapsed": 1, "cost": "NaN"}}\n',
    b"\xff\xfe\n",
    b"\n",
    b"\0" * 20 + b"\n",
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_line_is_an_error_with_its_place(line: MakeLine, tmp_path: Path, foreign: bytes) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(line(0) + foreign)
    with pytest.raises(InputError, match=r"out\.jsonl:2: not an output line of headrace run"):
        read_statistics(out)


def test_missing_and_empty_files_are_errors(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for content, message in (
        (None, "No such file"),
        (b"", "holds no finished item"),
        (b'{"id": "head', "holds no finished item"),
    ):
        if content is not None:
            out.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_statistics(out)
    with pytest.raises(InputError, match=r"is a directory; name the output of a run$"):
        read_statistics(tmp_path)


@pytest.mark.anyio
async def test_the_vectors_of_a_run_are_answers(tmp_path: Path) -> None:
    out = tmp_path / "vectors.jsonl"
    texts = [{"text": text} for text in ("A", "B", "")]
    async with FakeEndpoint().client(model="m") as client:
        await run(client, texts, out=out, task="embed", column="text")
    page = render(read_statistics(out), out.name, datetime.now(UTC))
    assert "2 vectors of 2 numbers." in page
    assert "No item has an answer" not in page
    assert page.count('"a vector of 2 numbers"') == 2


SAMPLES: list[list[str | None]] = [["rot", None, "blau", "rot"], ["blau", "blau", "rot", "blau"]]


@pytest.mark.parametrize("vote", [False, True])
def test_all_answers_of_a_row_with_samples_are_counted_or_the_voted_one(line: MakeLine, vote: bool) -> None:
    lines = []
    for number, samples in enumerate(SAMPLES):
        votes = Counter(each for each in samples if each is not None)
        made = json.loads(line(number))
        made["headrace"] |= {"answers": samples}
        made["headrace"] |= {"answer": votes.most_common()[0][0], "votes": votes} if vote else {}
        lines.append(json.dumps(made).encode() + b"\n")
    statistics = count_lines(lines, "out.jsonl")
    [found] = statistics.answers.views()
    assert dict(found.counts) == ({"rot": 1, "blau": 1} if vote else {"rot": 3, "blau": 4})
    rows = [row[3] for row in json.loads(statistics.rows.encode())]
    assert rows == (["rot", "blau"] if vote else SAMPLES)
