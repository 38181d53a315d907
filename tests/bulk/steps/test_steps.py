"""Jobs with steps from Python: what is sent, what is written, and what is paid again."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from tests.bulk.steps.conftest import SCHEMA, PromptEndpoint, shop_answer

import headrace
from headrace import Step
from headrace.bulk import OutputLine, Result
from headrace.bulk.report.output_reader import read_statistics
from headrace.bulk.run_facts import read_run_facts
from headrace.bulk.run_preparation import prepare_run
from headrace.bulk.summary_json import encode_summary
from headrace.bulk.summary_text import describe
from headrace.errors import JournalError
from headrace.testing import Answer
from headrace_cost import Cost

Lines = Callable[[Path], list[dict[str, Any]]]

STEPS = [
    Step("category", "Sort {id}", choices=["garden", "clothes", "kitchen"]),
    Step("text", "Advertise {id}", when="category == 'garden'", model="writer"),
    Step("verdict", "Judge {text}", when="text != null", answer=SCHEMA, output="judged"),
]
ROWS = [{"id": f"P{number}", "name": f"Ding {number}"} for number in range(7)]
PERFORMED = 7 + 3 + 3
PRICES = {name: {"input": "1", "output": "2"} for name in ("fake-model", "writer")}
USD = Decimal("0.00002")
"""The cost of an answer at these prices."""


async def perform(endpoint: PromptEndpoint, rows: Any = ROWS, steps: Any = STEPS, **more: Any) -> Result:
    async with endpoint.client() as client:
        return await headrace.run(client, rows, steps=steps, **more)


@pytest.mark.anyio
async def test_each_row_gets_one_line_with_the_answers_of_its_steps(
    shop: PromptEndpoint, tmp_path: Path, read_lines: Lines
) -> None:
    out = tmp_path / "out.jsonl"
    result = await perform(shop, out=out)
    assert (result.total, result.succeeded, result.failed) == (7, 7, 0)
    assert {name: attrs.astuple(counts) for name, counts in result.steps.items()} == {
        "category": (7, 0, 0, 0),
        "text": (3, 0, 4, 0),
        "verdict": (3, 0, 4, 0),
    }
    assert "\n  steps      category: 7 done\n             text: 3 done, 4 skipped\n" in describe(result)
    assert "<tr><th>Step text</th><td>3 done, 4 skipped</td></tr>" in result._repr_html_()
    assert json.loads(encode_summary(result, "o"))["steps"]["text"]["skipped"] == 4
    assert shop.prompts.total() == PERFORMED
    assert result.prompt_tokens == PERFORMED * 10
    assert {attempt.model for attempt in shop.attempts} == {"fake-model", "writer"}
    lines = {line["custom_id"]: line for line in read_lines(out)}
    assert len(lines) == 7
    garden, other = lines["P3"], lines["P4"]
    verdict = {"score": 7, "note": "about Buy P3!"}
    assert garden["headrace"]["steps"] == {"category": "garden", "text": "Buy P3!", "judged": verdict}
    assert garden["headrace"]["answer"] == verdict
    assert (garden["headrace"]["attempts"], garden["headrace"]["prompt_tokens"]) == (3, 30)
    assert other["headrace"]["steps"] == {"category": "clothes", "text": None, "judged": None}
    assert other["response"]["body"]["choices"][0]["message"]["content"] == "clothes"
    steps = read_lines(tmp_path / "out.jsonl.steps")
    assert sorted((line["custom_id"], line["headrace"]["step"]) for line in steps)[:4] == [
        ("P0", "category"),
        ("P0", "text"),
        ("P0", "verdict"),
        ("P1", "category"),
    ]
    assert [line.steps for line in result][3] == garden["headrace"]["steps"]
    columns = "id name category text judged.score judged.note error finish_reason attempts elapsed cost"
    table = result.to_arrow()
    assert table.column_names == columns.split()
    assert table.column("judged.score").to_pylist() == [7, None, None, 7, None, None, 7]


@pytest.mark.anyio
async def test_tables_and_reports_have_each_step(shop: PromptEndpoint, tmp_path: Path) -> None:
    out, rows = tmp_path / "out.jsonl", tmp_path / "rows.jsonl"
    shop.answer = lambda prompt: 400 if prompt == "Advertise P3" else shop_answer(prompt)
    with open(rows, "w") as file:  # noqa: ASYNC230
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    await perform(shop, rows, out=out, table=tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:  # noqa: ASYNC230
        table = list(csv.DictReader(file))
    assert [row["category"] for row in table] == ["garden", "clothes", "kitchen"] * 2 + ["garden"]
    assert (table[0]["judged.score"], table[1]["judged.score"], table[3]["text"]) == ("7", "", "")
    assert table[3]["error"].startswith("status_error: step text: ")
    statistics = read_statistics(out)
    assert statistics.summary.prompt_tokens == (7 + 2 + 2) * 10
    views = {view.member: dict(view.counts) for view in statistics.answers.views()}
    assert views["category"] == {"garden": 3, "clothes": 2, "kitchen": 2}
    assert views["judged.score"] == {"7": 2}
    facts = dict(read_run_facts(out))
    assert facts["Condition of step text"] == "category == 'garden'"
    assert facts["Model of step text"] == "writer"
    assert facts["Choices of step category"] == "garden, clothes, kitchen"


@pytest.mark.anyio
async def test_without_an_output_nothing_is_on_disk(
    shop: PromptEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = await perform(shop)
    assert [line.answer for line in result][1:3] == ["clothes", "kitchen"]
    assert not os.listdir(tmp_path)


@pytest.mark.anyio
async def test_a_changed_later_step_sends_only_what_depends_on_it(
    shop: PromptEndpoint, tmp_path: Path, read_lines: Lines
) -> None:
    out = tmp_path / "out.jsonl"
    await perform(shop, out=out)
    changed = [*STEPS[:2], attrs.evolve(STEPS[2], prompt="Rate {text}")]
    with pytest.raises(JournalError) as error:
        await perform(shop, out=out, steps=changed)
    assert str(error.value) == (
        f"{out}: the prompt of step verdict changed since this journal began (was 'Judge {{text}}', is "
        "'Rate {text}'); put it back, keep what is done with keep_done=True, or begin a new output with "
        "fresh=True"
    )
    shop.prompts.clear()
    result = await perform(shop, out=out, steps=changed, fresh=True)
    assert shop.prompts == {f"Rate Buy P{number}!": 1 for number in (0, 3, 6)}
    assert (result.succeeded, result.steps["category"].reused, result.steps["text"].reused) == (7, 7, 3)
    assert len(read_lines(out)) == len(read_lines(tmp_path / "out.jsonl.1")) == 7
    shop.prompts.clear()
    await perform(shop, out=out, steps=STEPS, fresh=True)
    assert not shop.prompts, "the answers of the first run are still there"


@pytest.mark.anyio
async def test_an_earlier_answer_that_changes_sends_the_later_steps_again(
    shop: PromptEndpoint, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    await perform(shop, out=out)
    shop.prompts.clear()
    shop.answer = lambda prompt: "Cheap!" if prompt.startswith("Praise") else shop_answer(prompt)
    steps = [STEPS[0], attrs.evolve(STEPS[1], prompt="Praise {id}"), STEPS[2]]
    await perform(shop, out=out, steps=steps, fresh=True)
    assert shop.prompts == {"Praise P0": 1, "Praise P3": 1, "Praise P6": 1, "Judge Cheap!": 3}


@pytest.mark.anyio
async def test_a_failed_step_fails_its_row_and_is_sent_again_alone(
    shop: PromptEndpoint, tmp_path: Path, read_lines: Lines
) -> None:
    out = tmp_path / "out.jsonl"
    shop.answer = lambda prompt: 400 if prompt == "Advertise P3" else shop_answer(prompt)
    result = await perform(shop, out=out)
    assert (result.succeeded, result.failed, result.steps["text"].failed) == (6, 1, 1)
    (group,) = result.failure_groups
    assert group.message.startswith("step text: ")
    (line,) = (line for line in read_lines(out) if line["error"])
    assert line["error"]["message"].startswith("step text: ")
    assert line["headrace"]["steps"] == {"category": "garden"}
    shop.answer = shop_answer
    shop.prompts.clear()
    result = await perform(shop, out=out, only="failed")
    assert shop.prompts == {"Advertise P3": 1, "Judge Buy P3!": 1}
    assert (result.succeeded, result.failed, len(read_lines(out))) == (1, 0, 7)


@pytest.mark.anyio
async def test_an_unknown_model_of_a_later_step_stops_the_run(shop: PromptEndpoint, tmp_path: Path) -> None:
    body = b'{"error": {"code": "model_not_found", "message": "The model writer does not exist"}}'
    shop.answer = lambda prompt: (
        Answer(status=404, body=body) if "Advertise" in prompt else shop_answer(prompt)
    )
    rows = [{"id": f"P{number}", "name": "x"} for number in range(300)]
    async with shop.client(max_in_flight=4) as client:
        result = await headrace.run(client, rows, steps=STEPS, out=tmp_path / "out.jsonl")
    assert "The model writer does not exist" in str(result.stopped_by)
    assert result.failed == 0
    assert shop.prompts.total() < 60
    shop.answer = shop_answer
    shop.prompts.clear()
    result = await perform(shop, rows, out=tmp_path / "out.jsonl")
    assert (result.done, result.failed) == (300, 0)
    assert result.steps["category"].reused >= 3


@pytest.mark.anyio
async def test_a_stopped_run_continues_each_row_where_it_was(shop: PromptEndpoint, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    async with (
        shop.client(max_in_flight=2) as client,
        headrace.run(client, ROWS, steps=STEPS, out=out) as run,
    ):
        async for _ in run:
            run.stop()
        first = await run.wait()
    assert 0 < first.done < 7
    result = await perform(shop, out=out)
    assert (result.done, result.left) == (7, 0)
    assert set(shop.prompts.values()) == {1}
    assert shop.prompts.total() == PERFORMED


@pytest.mark.anyio
async def test_each_step_is_counted_once_in_what_was_spent(shop: PromptEndpoint, tmp_path: Path) -> None:
    def spent(**options: Any) -> Decimal:
        prepared = prepare_run(ROWS, tmp_path / "out.jsonl", "fake-model", steps=STEPS)
        with prepared.open_journal(**options) as journal:
            return journal.spent

    async def paid(**options: Any) -> Decimal:
        async with shop.client([Cost(prices=PRICES)]) as client:
            result = await headrace.run(client, ROWS, steps=STEPS, out=tmp_path / "out.jsonl", **options)
        return result.cost or Decimal(0)

    shop.answer = lambda prompt: "none" if prompt == "Judge Buy P3!" else shop_answer(prompt)
    first = await paid()
    assert first == PERFORMED * USD
    assert spent() == first
    assert spent(retry_failed=True) == first, "the line is gone, but not what it cost"
    shop.answer = shop_answer
    assert await paid() == USD
    assert spent() == first + USD
    assert sum(line.headrace.cost or 0 for line in await lines_of(shop, tmp_path)) == first
    assert await paid(fresh=True) == 0
    assert spent() == 0, "what another run has paid is not counted"


async def lines_of(shop: PromptEndpoint, folder: Path) -> list[OutputLine]:
    return list(await perform(shop, out=folder / "out.jsonl"))


def slow_rows(gate: anyio.Event) -> AsyncIterator[dict[str, str]]:
    async def rows() -> AsyncIterator[dict[str, str]]:
        yield ROWS[0]
        await gate.wait()
        yield ROWS[3]

    return rows()


@pytest.mark.anyio
async def test_rows_that_are_slow_to_come_hold_no_later_step_back(shop: PromptEndpoint) -> None:
    gate = anyio.Event()

    def answer(prompt: str) -> Any:
        if prompt == "Judge Buy P0!":
            gate.set()
        return shop_answer(prompt)

    shop.answer = answer
    with anyio.fail_after(5):
        result = await perform(shop, slow_rows(gate))
    assert result.succeeded == 2


@pytest.mark.anyio
async def test_a_row_does_not_wait_for_the_first_steps_of_others(shop: PromptEndpoint) -> None:
    last = shop.holds["Sort P1"] = anyio.Event()

    def answer(prompt: str) -> Any:
        if prompt == "Judge Buy P0!":
            last.set()
        return shop_answer(prompt)

    shop.answer = answer
    with anyio.fail_after(5):
        result = await perform(shop, ROWS[:2])
    assert result.succeeded == 2


@pytest.mark.anyio
async def test_many_rows_without_a_call_leave_other_tasks_their_turn(shop: PromptEndpoint) -> None:
    rows = [{"id": f"P{number}", "name": "x"} for number in range(2_100)]
    result = await perform(shop, rows, [Step("text", "Advertise {id}", when="id == 'P2090'")])
    assert (result.succeeded, result.steps["text"].skipped) == (2_100, 2_099)
    assert shop.prompts == {"Advertise P2090": 1}


@pytest.mark.anyio
async def test_a_condition_without_a_value_fails_its_row_alone(shop: PromptEndpoint) -> None:
    rows = [{"id": "P0", "kind": True}, {"id": "P1", "kind": "no flag"}, {"id": "P2"}]
    steps = [Step("text", "Advertise {id}", when="kind")]
    result = await perform(shop, rows, steps, on_missing="fail-row")
    messages = [None if line.error is None else str(line.error) for line in result]
    assert messages == [
        None,
        "input_error: step text: row 2: kind is text here, not true or false; compare it, like kind == …",
        "input_error: step text: row 3: no column 'kind' for the condition; did you mean 'id'?",
    ]
