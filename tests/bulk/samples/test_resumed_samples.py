"""Runs with samples that were stopped: which answers are used again, and what is paid."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bulk.samples.conftest import SampleEndpoint

import headrace
from headrace.bulk import Result
from headrace.bulk.journal import Journal
from headrace_cost import Cost

Lines = Callable[[Path], list[dict[str, Any]]]

ROWS = [{"id": "P0"}, {"id": "P1"}]
PRICES = {"fake-model": {"input": "1", "output": "2"}}
USD = Decimal("0.00002")
"""The cost of a call for one answer at these prices."""


async def perform(endpoint: SampleEndpoint, out: Path, **more: Any) -> Result:
    more = {"samples": 4, "prompt": "Name {id}", **more}
    async with endpoint.client([Cost(prices=PRICES)]) as client:
        return await headrace.run(client, more.pop("rows", ROWS), out=out, **more)


def spent(out: Path) -> Decimal:
    """What a resumed run takes as spent, by the two journals."""
    lines = [*out.read_bytes().splitlines(), *Path(f"{out}.steps").read_bytes().splitlines()]
    notes = [json.loads(line)["headrace"] for line in lines]
    costs = [Decimal(each.get("cost", 0)) - Decimal(each.get("cost_in_steps", 0)) for each in notes]
    return sum(costs, Decimal(0))


@pytest.mark.anyio
async def test_a_failed_row_sends_only_the_calls_that_are_missing(tmp_path: Path, read_lines: Lines) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = SampleEndpoint(["a", "b", 404, "c", "d"], "one")
    result = await perform(endpoint, out, max_in_flight=1)
    assert (result.succeeded, dict(result.failures)) == (0, {"status_error": 2})
    assert [line["headrace"]["answers"] for line in read_lines(out)] == [["a", "b"]] * 2
    table = result.to_arrow()
    assert table.column("answer_2").to_pylist() == ["b", "b"]
    assert spent(out) == 4 * USD
    endpoint.attempts.clear()
    again = await perform(endpoint, out, retry_failed=True)
    assert (again.succeeded, len(endpoint.attempts)) == (2, 4)
    assert [line.answers for line in again] == [["a", "b", "c", "d"]] * 2
    assert again.samples is not None
    assert (again.samples.answers, again.samples.reused) == (4, 4)
    assert spent(out) == 8 * USD
    assert {line.headrace.cost for line in again} == {4 * USD}


@pytest.mark.anyio
async def test_a_row_whose_answers_cannot_be_read_begins_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = SampleEndpoint(["?", "?", "?", "?", "a", "?", "b", "c", "d"], "one")
    more: dict[str, Any] = {"rows": ROWS[:1], "choices": ["a", "b", "c", "d"]}
    result = await perform(endpoint, out, **more)
    assert (result.failed, spent(out)) == (1, 4 * USD)
    again = await perform(endpoint, out, retry_failed=True, **more)
    assert [line.answers for line in again] == [["a", None, "b", "c"]]
    assert len(endpoint.attempts) == 8


@pytest.mark.anyio
async def test_a_new_output_keeps_answers_whose_request_is_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = SampleEndpoint(list("abcdefgh"), "one")
    await perform(endpoint, out)
    more = await perform(endpoint, out, samples=6, fresh=True)
    assert len(endpoint.attempts) == 2 * (4 + 3), "the last answer of a row is in its line only"
    assert [line.answers for line in more] == [list("abcefg")] * 2
    other = await perform(endpoint, out, samples=4, prompt="Call {id}", fresh=True)
    assert other.samples is not None
    assert other.samples.reused == 0


@pytest.mark.anyio
@pytest.mark.parametrize("after", range(1, 9))
async def test_a_run_that_is_killed_pays_no_answer_twice(after: int, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = SampleEndpoint(list("abcd"), "one")
    with anyio.CancelScope() as scope:
        handle = endpoint._answer

        async def until(step: Any, call: Any) -> Any:
            if len(endpoint.attempts) > after:
                scope.cancel()
                await anyio.sleep_forever()
            return await handle(step, call)

        endpoint._answer = until  # type: ignore[method-assign]
        await perform(endpoint, out, max_in_flight=1)
    endpoint._answer = handle  # type: ignore[method-assign]
    done = sum(endpoint.given.values())
    assert done == min(after, 8)
    result = await perform(endpoint, out)
    assert sum(endpoint.given.values()) == 8
    assert {tuple(line.answers or ()) for line in result} == {tuple("abcd")}
    assert spent(out) == 8 * USD
    with Journal(out, {}, keep_done=True) as journal:
        assert journal.done == 2


@given(
    st.integers(1, 6), st.lists(st.sampled_from(["a", "b", "?"]), min_size=1, max_size=7), st.integers(1, 4)
)
def test_any_answers_give_as_many_samples_as_were_asked_for(
    samples: int, answers: list[str], at_most: int
) -> None:
    async def main() -> None:
        endpoint = SampleEndpoint(answers, at_most)
        async with endpoint.client() as client:
            result = await headrace.run(
                client, ROWS[:1], prompt="{id}", samples=samples, vote=True, choices=["a", "b"]
            )
        (line,) = result
        given = [answers[place % len(answers)] for place in range(samples)]
        readable = [answer for answer in given if answer != "?"]
        assert line.answers == [None if answer == "?" else answer for answer in given]
        assert (line.error is None) == bool(readable)
        votes = {answer: readable.count(answer) for answer in dict.fromkeys(readable)}
        assert (line.headrace.votes or {}) == votes
        assert line.answer == max(votes, key=lambda answer: votes[answer], default=None)
        assert len(endpoint.attempts) <= samples

    anyio.run(main)


def test_an_output_has_no_steps_journal_without_a_second_call(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    anyio.run(perform, SampleEndpoint(["a"]), out)
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl", "out.jsonl.journal"]
