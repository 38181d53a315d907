"""What a person reads of parts, while a session follows them and when it has left them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import trio.testing

from batch_runs import lines_of, rows, run
from headrace import DeadlineExceeded
from headrace.bulk import Summary
from headrace.cli.summary_output import SummaryOutput
from headrace_batch.live_parts import describe_left, describe_progress
from headrace_batch.part import Part, Stage
from scripted_batches import BATCH_TIME, ScriptedBatches

OUT = Path("my out.jsonl")


def part(stage: Stage, done: int = 0, outstanding: int = 100) -> Part:
    return Part(
        1, 100, 1, "", "/chat/completions", "m", "url", stage=stage, done=done, outstanding=outstanding
    )


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([], ""),
        ([part(Stage.SETTLED)], ""),
        ([part(Stage.UPLOADING)], "1 batch not created yet"),
        ([part(Stage.PLANNED, outstanding=0)], ""),  # this session has none of its rows
        (
            [part(Stage.CREATED, 40), part(Stage.PLANNED), part(Stage.UPLOADED)],
            "1 batch, 40/100 finished there, 2 batches not created yet",
        ),
        (
            [part(Stage.CREATED, 40), part(Stage.ENDED, 100, 9)],
            "2 batches, 140/200 finished there, fetching the results of 1",
        ),
    ],
)
def test_progress(parts: list[Part], text: str) -> None:
    assert describe_progress(parts) == text


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ([Stage.PLANNED, Stage.SETTLED], ""),
        (
            [Stage.CREATED, Stage.CREATING],
            "2 batches with 200 rows go on at the endpoint. Run the same command again to fetch their "
            "results, or cancel them with: headrace batch cancel 'my out.jsonl'",
        ),
        (
            [Stage.ENDED],
            "1 batch with 100 rows has ended at the endpoint. Run the same command again to fetch their "
            "results.",
        ),
        (
            [Stage.CREATED, Stage.ENDED],
            "1 batch with 100 rows goes on at the endpoint. 1 batch with 100 rows has ended there. Run the "
            "same command again to fetch their results, or cancel them with: headrace batch cancel "
            "'my out.jsonl'",
        ),
    ],
)
def test_what_is_left(stages: list[Stage], text: str) -> None:
    assert describe_left(map(part, stages), OUT) == text


@pytest.mark.trio
@pytest.mark.usefixtures("without_threads")
async def test_a_run_whose_deadline_passes_says_that_its_batches_go_on(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(5), deadline=BATCH_TIME / 2)
    assert isinstance(result.stopped_by, DeadlineExceeded)
    assert result.going_on.startswith("1 batch with 5 rows goes on at the endpoint. Run the same command")
    assert (await run(endpoint, out, rows(5))).going_on == ""
    assert (len(lines_of(out)), set(endpoint.billed.values())) == (5, {1})


@pytest.mark.parametrize(
    ("stopped_by", "text"),
    [
        ("interrupt", "\n1 batch goes on.\n"),
        (DeadlineExceeded("the deadline passed"), "\nStopped: the deadline passed. 1 batch goes on.\n"),
    ],
)
def test_rows_in_batches_are_not_called_unsent(
    stopped_by: DeadlineExceeded | str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Summary(5, stopped_by=stopped_by, going_on="1 batch goes on.")
    with click.Context(click.Command("run")):
        SummaryOutput(False, False).print(summary, "out.jsonl")
    printed = capsys.readouterr().out
    assert printed.endswith(text)
    assert "unsent" not in printed
