"""Several answers for each row: the calls that bring them, and what is written."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from tests.bulk.samples.conftest import SampleEndpoint, reply_with

import headrace
from headrace.bulk import Result
from headrace.bulk.report.output_reader import read_statistics
from headrace.errors import InputError, JournalError
from headrace.testing import FakeEndpoint
from headrace.testing.fake import Answer
from headrace_cache import Cache
from headrace_cost import Cost

Lines = Callable[[Path], list[dict[str, Any]]]

ROWS = [{"id": f"P{number}"} for number in range(3)]
CHOICES = ["garden", "sport"]
VOTES = ["sport", "garden", "garden", "sport", "garden"]
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
PRICES = {"fake-model": {"input": "1", "output": "2"}}


async def perform(endpoint: FakeEndpoint, policies: Any = (), **more: Any) -> Result:
    more = {"rows": ROWS, "prompt": "Sort {id}", **more}
    async with endpoint.client(policies) as client:
        return await headrace.run(client, more.pop("rows"), **more)


# What the endpoint makes of n=5, and the numbers that the calls of one row ask for.
ABILITIES: dict[str, tuple[Any, list[int | None]]] = {
    "gives all": ("all", [5]),
    "gives one": ("one", [5, None, None, None, None]),
    "gives at most two": (2, [5, 3, None]),
    "rejects it": ("rejects", [5, None, None, None, None, None]),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ABILITIES)
async def test_a_row_gets_all_its_answers_whatever_the_endpoint_makes_of_n(
    tmp_path: Path, read_lines: Lines, name: str
) -> None:
    ability, numbers = ABILITIES[name]
    endpoint, out = SampleEndpoint(VOTES, ability), tmp_path / "out.jsonl"
    result = await perform(
        endpoint, [Cost(prices=PRICES)], rows=ROWS[:1], samples=5, vote=True, choices=CHOICES, out=out
    )
    assert endpoint.numbers == numbers
    assert (result.succeeded, result.failed) == (1, 0)
    assert result.samples is not None
    assert attrs.astuple(result.samples) == (5, 0, 0)
    assert result.finish_reasons == {"stop": 5}
    answered = len(numbers) - (ability == "rejects")
    (line,) = read_lines(out)
    notes = line["headrace"]
    assert (notes["answers"], notes["answer"], notes["votes"]) == (VOTES, "garden", {"garden": 3, "sport": 2})
    assert (notes["prompt_tokens"], notes["completion_tokens"]) == (10 * answered, 25)
    assert (result.prompt_tokens, result.completion_tokens) == (10 * answered, 25)
    cost = Decimal(answered) * 10 / 1_000_000 + Decimal(50) / 1_000_000
    assert Decimal(notes["cost"]) == result.cost == cost
    assert read_statistics(out).summary.prompt_tokens == 10 * answered
    assert (tmp_path / "out.jsonl.steps").exists() == (len(numbers) > 1)


@pytest.mark.anyio
async def test_a_run_learns_once_what_the_endpoint_makes_of_n() -> None:
    rows = [{"id": f"P{number}"} for number in range(60)]
    for ability in ("one", "rejects"):
        endpoint = SampleEndpoint(VOTES, ability)
        result = await perform(endpoint, rows=rows, samples=5, max_in_flight=1)
        assert endpoint.numbers.count(5) < 20, "only rows that were drawn before the first answer was read"
        assert [line.answers for line in result] == [VOTES] * 60


@pytest.mark.anyio
async def test_a_single_answer_says_nothing_about_an_endpoint_that_gave_several() -> None:
    endpoint = FakeEndpoint(*map(reply_with, ["abc", "a", "abc", "bc"]))
    result = await perform(endpoint, samples=3, max_in_flight=1)
    assert (result.succeeded, [(each.body or {})["n"] for each in endpoint.attempts]) == (3, [3, 3, 3, 2])
    assert [line.answers for line in result] == [["a", "b", "c"]] * 3


REJECTIONS = {
    "names the parameter": {"message": "Unsupported value", "param": "n", "code": "unsupported_value"},
    "names it in words": {"message": "only one completion choice is allowed", "param": None, "code": None},
    "has a shared code": {"message": "no", "param": None, "code": "unsupported_parameter"},
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", REJECTIONS)
@pytest.mark.parametrize("status", [400, 422])
async def test_no_rejection_of_n_ends_the_run(name: str, status: int) -> None:
    endpoint = SampleEndpoint(VOTES, "rejects")
    endpoint.rejection = Answer(status=status, body={"error": REJECTIONS[name]})
    rows = [{"id": f"P{number}"} for number in range(40)]
    result = await perform(endpoint, rows=rows, samples=2)
    assert (result.succeeded, result.stopped_by) == (40, None)


@pytest.mark.anyio
async def test_one_of_several_endpoints_may_reject_n() -> None:
    endpoint = FakeEndpoint(reply_with("ab"), 400, "a", "b")
    result = await perform(endpoint, rows=ROWS[:2], samples=2, max_in_flight=1)
    assert (result.succeeded, len(endpoint.attempts)) == (2, 4)
    assert [line.answers for line in result] == [["a", "b"]] * 2


@pytest.mark.anyio
async def test_a_request_that_is_wrong_for_another_reason_fails_as_ever() -> None:
    endpoint = SampleEndpoint([400])
    result = await perform(endpoint, rows=ROWS[:1], samples=3)
    assert (result.failed, dict(result.failures), endpoint.numbers) == (1, {"status_error": 1}, [3, None])
    missing = {"message": "The model `m` does not exist", "param": None, "code": "model_not_found"}
    wrong = FakeEndpoint(otherwise=Answer(status=400, body={"error": missing}))
    stopped = await perform(wrong, rows=[{"id": f"P{number}"} for number in range(40)], samples=3)
    assert (stopped.succeeded, stopped.left) == (0, 40)
    assert "does not exist" in str(stopped.stopped_by)


@pytest.mark.anyio
async def test_each_answer_is_read_by_itself(tmp_path: Path, read_lines: Lines) -> None:
    cut = {"message": {"role": "assistant", "content": "gar"}, "finish_reason": "length"}
    refused = {"message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"}
    endpoint = SampleEndpoint(["what?", "garden", refused, cut, {"message": None}])
    out = tmp_path / "out.jsonl"
    result = await perform(endpoint, samples=5, vote=True, choices=CHOICES, out=out)
    assert result.samples is not None
    assert attrs.astuple(result.samples) == (15, 12, 0)
    assert (result.succeeded, result.failed) == (3, 0)
    assert result.finish_reasons == {"stop": 6, "refusal": 3, "length": 3}
    for line in read_lines(out):
        assert line["error"] is None
        notes = line["headrace"]
        assert notes["answers"] == [None, "garden", None, None, None]
        assert (notes["answer"], notes["votes"]) == ("garden", {"garden": 1})


@pytest.mark.anyio
async def test_a_row_without_a_readable_answer_fails() -> None:
    for ability in ("all", "one"):
        endpoint = SampleEndpoint(["what?", "eh"], ability)
        result = await perform(endpoint, samples=2, choices=CHOICES)
        assert (result.succeeded, dict(result.failures)) == (0, {"answer_error": 3})
        assert {line.error and line.error.message for line in result} == {
            "the answer 'what?' is not one of the choices"
        }
        assert {tuple(line.answers or ()) for line in result} == {(None, None)}


@pytest.mark.anyio
@pytest.mark.parametrize("ability", ["all", "one"])
async def test_typed_answers_become_columns(ability: Any, tmp_path: Path) -> None:
    endpoint = SampleEndpoint(['{"score": 1}', "none", '{"score": 3}'], ability)
    rows, table = tmp_path / "rows.csv", tmp_path / "table.csv"
    rows.write_text("id\nP0\nP1\n")
    result = await perform(
        endpoint, rows=rows, samples=3, answer=SCHEMA, out=tmp_path / "out.jsonl", table=table
    )
    assert (result.succeeded, [line.answer for line in result]) == (2, [{"score": 1}] * 2)
    arrow = result.to_arrow()
    names = ["id", "answer_1.score", "answer_2", "answer_3.score", "error", "finish_reason"]
    assert arrow.column_names == [*names, "attempts", "elapsed", "cost"]
    assert arrow.column("answer_3.score").to_pylist() == [3, 3]
    with open(table, newline="") as file:  # noqa: ASYNC230
        (first, _) = csv.DictReader(file)
    assert (first["answer_1.score"], first["answer_2"], first["answer_3.score"]) == ("1", "", "3")


@pytest.mark.anyio
async def test_texts_are_kept_as_they_are_and_the_first_is_the_answer() -> None:
    result = await perform(SampleEndpoint(["one", "", "three"]), samples=3)
    assert [line.answer for line in result] == ["one"] * 3
    table = result.to_arrow()
    assert table.column("answer_2").to_pylist() == [""] * 3
    assert "answer" not in table.column_names


@pytest.mark.anyio
async def test_a_vote_is_among_the_strings_of_a_type_as_among_choices() -> None:
    answers = [json.dumps({"answer": each}) for each in VOTES]
    kind = Literal["garden", "sport"]
    result = await perform(SampleEndpoint(answers), samples=5, vote=True, answer=kind)
    table = result.to_arrow()
    assert table.column_names[1:8] == ["answer", "votes", *(f"answer_{number}" for number in range(1, 6))]
    assert table.column("answer").to_pylist() == ["garden"] * 3
    assert table.column("votes").to_pylist() == ['{"garden":3,"sport":2}'] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("answers", [["sport", "garden"], ["sport", "garden", "garden", "sport"]])
async def test_of_equal_votes_the_earliest_given_wins(answers: list[str]) -> None:
    result = await perform(SampleEndpoint(answers), samples=len(answers), vote=True, choices=CHOICES)
    assert [line.answer for line in result] == ["sport"] * 3


@pytest.mark.anyio
async def test_further_calls_get_another_answer_than_the_cache_has(tmp_path: Path) -> None:
    endpoint = SampleEndpoint(VOTES, "one")
    cache = Cache(path=str(tmp_path / "cache.db"))
    result = await perform(endpoint, [cache], rows=ROWS[:1], samples=5, parameters={"seed": 7})
    assert [line.answers for line in result] == [VOTES]
    assert [(attempt.body or {})["seed"] for attempt in endpoint.attempts] == [7, 8, 9, 10, 11]


@pytest.mark.anyio
async def test_without_an_output_nothing_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = await perform(SampleEndpoint(VOTES, "one"), samples=2)
    assert (result.succeeded, os.listdir(tmp_path)) == (3, [])


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"samples": 0}, "samples=0: must be a number of answers from 1 to 128"),
    "too many": ({"samples": 129}, "samples=129: must be a number of answers from 1 to 128"),
    "no number": ({"samples": True}, "samples=True: must be a number of answers from 1 to 128"),
    "n as a parameter": (
        {"samples": 2, "parameters": {"n": 3}},
        "samples=: sets the parameter n; leave n out of parameters=",
    ),
    "n of the endpoint": (
        {"samples": 2, "extra_body": {"n": 3}},
        "samples=: sets the parameter n; leave n out of extra_body=",
    ),
    "a vote on texts": (
        {"samples": 2, "vote": True},
        "vote=: needs choices=, because it counts equal answers",
    ),
    "a vote on one": (
        {"vote": True, "choices": ["a"]},
        "vote=: needs samples=, the number of answers for each row",
    ),
    "embeddings": (
        {"samples": 2, "task": "embed", "column": "id", "prompt": None},
        'task="embed": leave out samples=; only task="chat" has it',
    ),
    "steps": (
        {"samples": 2, "vote": True, "prompt": None, "steps": [headrace.Step("a", "{id}")]},
        "steps: leave out samples= and vote=; a step has one answer for each row",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_found_before_anything_is_sent(name: str) -> None:
    arguments, message = MISTAKES[name]
    endpoint = SampleEndpoint(VOTES)
    with pytest.raises(InputError) as error:
        await perform(endpoint, **arguments)
    assert (str(error.value), endpoint.attempts) == (message, [])


@pytest.mark.anyio
async def test_whole_requests_have_no_samples(tmp_path: Path) -> None:
    batch = tmp_path / "batch.jsonl"
    batch.write_text('{"custom_id": "a", "url": "/v1/chat/completions", "body": {"model": "m"}}\n')
    with pytest.raises(InputError, match=r"whole requests; leave out samples=, vote=$"):
        await perform(SampleEndpoint(VOTES), rows=batch, prompt=None, samples=2, vote=True)


@pytest.mark.anyio
async def test_equal_answers_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    for parameters in ({"temperature": 0}, {"temperature": 0.7}, {}):
        with caplog.at_level(logging.WARNING, "headrace"):
            await perform(SampleEndpoint(VOTES), samples=2, parameters=parameters)
    assert [record.getMessage() for record in caplog.records] == [
        "the temperature is 0, so most of the 2 answers of a row will be equal"
    ]


@pytest.mark.anyio
async def test_another_number_of_samples_is_another_run(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    await perform(SampleEndpoint(VOTES), samples=2, out=out)
    for samples, shown in ((3, "3"), (None, "None")):
        with pytest.raises(JournalError) as error:
            await perform(SampleEndpoint(VOTES), samples=samples, out=out)
        assert f"the number of samples changed since this journal began (was 2, is {shown});" in str(
            error.value
        )
