"""Runs that embed texts: many rows in one request, and a line for each row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import numpy
import pandas
import pytest
from tests.bulk.embedding.text_endpoint import Priced, TextEndpoint

import headrace
from headrace import InputError, JournalError
from headrace.bulk import Result
from headrace.bulk.output_line import decode_line
from headrace.testing import Answer, FakeEndpoint
from headrace_retry import Retry

ROWS = [{"id": f"r{number}", "text": "x" * number, "n": number} for number in range(1, 8)]


async def embed(rows: Any, endpoint: TextEndpoint | FakeEndpoint, **arguments: Any) -> Result:
    client: dict[str, Any] = arguments.pop("client", {"max_in_flight": 2})
    async with endpoint.client(**client) as opened:
        return await headrace.run(opened, rows, **{"task": "embed", "column": "text", **arguments})


def generate() -> Iterator[dict[str, Any]]:
    yield from ROWS


async def generate_async() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        await anyio.lowlevel.checkpoint()
        yield row


@pytest.mark.anyio
@pytest.mark.parametrize("rows", [lambda: ROWS, generate, generate_async, lambda: pandas.DataFrame(ROWS)])
async def test_rows_of_each_form_get_their_vectors_in_their_order(rows: Callable[[], Any]) -> None:
    endpoint = TextEndpoint()
    result = await embed(rows(), endpoint, batch_size=3)
    assert sorted(map(len, endpoint.batches)) == [1, 3, 3]
    assert (result.total, result.succeeded, result.retries) == (7, 7, 0)
    assert result.prompt_tokens == endpoint.tokens == 3 * 7 + 28
    assert [(line.custom_id, line.vector[0] if line.vector else None) for line in result] == [
        (row["id"], row["n"]) for row in ROWS
    ]
    matrix = result.to_numpy()
    assert (matrix.dtype, matrix.tolist()) == (numpy.float32, [[number, 1] for number in range(1, 8)])


@pytest.mark.anyio
async def test_a_table_in_memory_has_the_vectors_as_32_bit_floats() -> None:
    rows = [*ROWS, {"id": "empty", "text": "", "n": 0}]
    result = await embed(rows, TextEndpoint())
    table = result.to_arrow()
    assert table.column_names == ["id", "text", "n", "embedding", "error", "attempts", "elapsed", "cost"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<item: float>[2]"
    *found, missing = table["embedding"].to_pylist()
    assert (found, missing) == ([[number, 1] for number in range(1, 8)], None)
    assert table["error"].to_pylist()[-1].startswith("input_error: row 8: column 'text' is empty")
    assert numpy.isnan(result.to_numpy()[-1]).all()
    assert result.to_polars()["embedding"].to_list()[0] == [1, 1]
    assert result.to_pandas()["embedding"][6].dtype == numpy.float32


@pytest.mark.anyio
async def test_a_line_is_what_the_endpoint_would_have_sent_for_the_text_alone(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    await embed([{"id": "a", "text": "xyz"}], TextEndpoint(), out=out, client={"policies": [Priced("0.25")]})
    line = json.loads(out.read_text())
    assert line["response"]["body"] == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": "AABAQAAAgD8="}],
        "model": "e-1",
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
    }
    assert (line["error"], line["headrace"]["cost"], line["headrace"]["attempts"]) == (None, "0.25", 1)


def test_a_chat_answer_about_embeddings_has_no_vector() -> None:
    text = json.dumps({"data": [{"embedding": [1.0], "index": 0}]})
    body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    line = {
        "id": "headrace-0",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": None, "body": body},
        "error": None,
        "headrace": {"attempts": 1, "elapsed": 0.1},
    }
    assert decode_line(json.dumps(line)).vector is None


@pytest.mark.anyio
async def test_tokens_and_cost_of_the_rows_add_up_to_those_of_the_batches(tmp_path: Path) -> None:
    endpoint, out = TextEndpoint(), tmp_path / "o.jsonl"
    client = {"policies": [Priced("0.0000100000000000000000001")]}
    result = await embed(ROWS, endpoint, batch_size=4, out=out, client=client)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(Decimal(line["headrace"]["cost"]) for line in lines) == result.cost
    assert result.cost == 2 * Decimal("0.0000100000000000000000001")
    usages = {line["custom_id"]: line["response"]["body"]["usage"]["prompt_tokens"] for line in lines}
    assert sum(usages.values()) == result.prompt_tokens == endpoint.tokens
    assert [usages[f"r{number}"] for number in range(1, 5)] == [1, 4, 5, 7]  # 17 tokens for 1 + 2 + 3 + 4


@pytest.mark.anyio
async def test_a_resumed_run_sends_only_what_is_not_done(tmp_path: Path) -> None:
    out, first, second = tmp_path / "o.jsonl", TextEndpoint(), TextEndpoint()
    await embed(ROWS, first, out=out, limit=5, batch_size=2)
    out.write_bytes(out.read_bytes() + b'{"id":"headrace-')  # as a kill leaves it
    result = await embed(ROWS, second, out=out, batch_size=3)
    assert sorted(text for batch in first.batches + second.batches for text in batch) == [
        row["text"] for row in ROWS
    ]
    assert (result.done_before, result.succeeded, result.left) == (5, 2, 0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "n"}, "the column of the texts changed since this journal began"),
        ({"dimensions": 4}, "the length of the vectors changed since this journal began"),
        ({"extra_body": {"input_type": "query"}}, "the extra body changed since this journal began"),
        ({"task": "chat", "column": None, "prompt": "{text}"}, "the prompt changed"),
    ],
)
async def test_another_run_on_the_same_output_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    out, again = tmp_path / "o.jsonl", TextEndpoint()
    await embed(ROWS, TextEndpoint(), out=out)
    with pytest.raises(JournalError, match=message):
        await embed(ROWS, again, out=out, **change)
    assert again.batches == []


@pytest.mark.anyio
async def test_a_changed_text_is_refused_and_another_column_may_change(tmp_path: Path) -> None:
    out, again = tmp_path / "o.jsonl", TextEndpoint()
    await embed(ROWS, TextEndpoint(), out=out)
    changed = [{**row, "n": 0, "text": "new" if row["id"] == "r3" else row["text"]} for row in ROWS]
    with pytest.raises(InputError, match=r"row 3: the row of 'r3' has changed"):
        await embed(changed, again, out=out)
    result = await embed(changed, again, out=out, changed="resend")
    assert (again.batches, result.done_before) == ([["new"]], 6)


@pytest.mark.anyio
async def test_failed_rows_are_sent_again_on_request(tmp_path: Path) -> None:
    out, again = tmp_path / "o.jsonl", TextEndpoint()
    result = await embed(ROWS, TextEndpoint(bad=lambda text: len(text) in (2, 5)), out=out)
    assert (result.succeeded, result.failed) == (5, 2)
    result = await embed(ROWS, again, out=out, only="failed")
    assert (again.batches, result.failed_before, result.succeeded) == ([["xx", "xxxxx"]], 0, 2)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "indexes", [[0], [0, 1, 2, 3], [1, 1, 2], [1, 2, 3]], ids=["too few", "too many", "twice", "unknown"]
)
async def test_a_reply_without_one_vector_for_each_text_fails_its_batch_only(indexes: list[int]) -> None:
    wrong = {"data": [{"index": index, "embedding": [1.0, 2.0]} for index in indexes]}
    right = {"data": [{"index": index, "embedding": [1.0, 2.0]} for index in range(3)]}
    endpoint = FakeEndpoint(Answer(body=wrong), otherwise=Answer(body=right))
    result = await embed(ROWS[:6], endpoint, batch_size=3, client={"max_in_flight": 1})
    assert result.failures == {"invalid_reply": 3}
    assert [line.vector is None for line in result] == [True] * 3 + [False] * 3
    assert len(endpoint.attempts) == 2


@pytest.mark.anyio
async def test_vectors_of_another_length_than_requested_stop_the_run() -> None:
    endpoint = TextEndpoint()
    result = await embed(ROWS, endpoint, dimensions=5, batch_size=4, client={"max_in_flight": 1})
    assert str(result.stopped_by).startswith("dimensions=5: the vectors have 2 numbers;")
    assert (result.left, len(endpoint.batches)) == (7, 1)


@pytest.mark.anyio
async def test_an_unknown_model_stops_the_run_and_no_batch_is_split() -> None:
    endpoint = TextEndpoint(status=404, error={"message": "no such model", "code": "model_not_found"})
    result = await embed(ROWS, endpoint, batch_size=4, client={"max_in_flight": 1})
    assert str(result.stopped_by).startswith("no such model")
    assert (result.left, len(endpoint.batches)) == (7, 1)


@pytest.mark.anyio
async def test_an_endpoint_that_is_down_gets_the_same_rows_later() -> None:
    down = headrace.CircuitOpen("down", 0.01)
    body = {"data": [{"index": index, "embedding": [1.0]} for index in range(7)]}
    endpoint = FakeEndpoint(down, otherwise=Answer(body=body))
    result = await embed(ROWS, endpoint)
    assert (result.succeeded, result.failed, len(endpoint.attempts)) == (7, 0, 2)


@pytest.mark.anyio
async def test_a_retry_of_a_batch_counts_once() -> None:
    body = {"data": [{"index": index, "embedding": [1.0]} for index in range(7)]}
    endpoint = FakeEndpoint(503, otherwise=Answer(body=body))
    result = await embed(ROWS, endpoint, client={"policies": [Retry(base=0.001)]})
    assert (result.succeeded, result.retries) == (7, 1)
    assert {line.headrace.attempts for line in result} == {2}


@pytest.mark.anyio
async def test_an_endpoint_without_base64_is_asked_for_numbers() -> None:
    endpoint = TextEndpoint(base64=False)
    result = await embed(ROWS, endpoint, batch_size=2, client={"max_in_flight": 1})
    assert (result.succeeded, len(endpoint.batches)) == (7, 5)


@pytest.mark.anyio
async def test_rows_that_cannot_be_sent_fail_alone() -> None:
    rows = [{"id": "a", "text": "x"}, {"id": "b"}, {"id": "c", "text": None}, {"id": "d", "text": "\ud800"}]
    with pytest.raises(InputError, match=r"row 2: no column 'text' for the text"):
        await embed(rows[:3], TextEndpoint())
    result = await embed(rows[:3], TextEndpoint(), on_missing="fail-row")
    assert [line.error is None for line in result] == [True, False, False]
    result = await embed([rows[0], {"id": "e", "text": {"a": 1}}], TextEndpoint(), column="text")
    assert [line.vector[0] if line.vector else 0 for line in result] == [1, 7]  # an object as JSON


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "{text}"}, 'task="embed": leave out prompt=; only task="chat" has it'),
        ({"choices": ["a"], "system": "s"}, "leave out choices=, system=; only"),
        ({"priority": 1, "fail_on": "length"}, "leave out fail_on=, priority=; only"),
        ({"task": "chat", "prompt": "{text}"}, 'task="chat": leave out column=; only task="embed" has it'),
        ({"task": "embedd"}, "unknown task 'embedd': task= must be 'chat' or 'embed'"),
        ({"column": None}, "column= is missing; name the column of the texts"),
        ({"batch_size": 0}, "batch_size=0: must be a number of texts from 1 to 2048"),
        ({"batch_size": 2049}, "batch_size=2049: must be"),
        ({"dimensions": 0}, "dimensions=0: must be a number of numbers in a vector"),
        ({"extra_body": {"input": "a"}}, "extra_body=: input is in each request already"),
        ({"extra_body": {"a": object()}}, "JSON"),
        (
            {"out": "v.csv"},
            "out=v.csv: CSV has no vectors; name a file that ends in .parquet, .npy or .jsonl",
        ),
        ({"out": "v.npy"}, "out=v.npy: a table is for an input file and an output"),
        ({"client": {"model": None}}, "no model: set model="),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    endpoint = TextEndpoint()
    with pytest.raises(InputError) as caught:
        await embed(ROWS, endpoint, **arguments)
    assert message in str(caught.value)
    assert endpoint.batches == []


@pytest.mark.anyio
async def test_the_batch_format_and_processes_are_refused(tmp_path: Path) -> None:
    batch = tmp_path / "b.jsonl"
    batch.write_text('{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"input":"x"}}\n')
    with pytest.raises(InputError, match=r'whole requests; leave out task="embed"'):
        await embed(batch, TextEndpoint())
    with pytest.raises(headrace.SettingsError, match=r'processes=: is not for task="embed"'):
        await headrace.run(TextEndpoint().client, ROWS, task="embed", column="text", processes=2)
