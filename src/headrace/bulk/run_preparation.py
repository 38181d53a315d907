"""Prepares a bulk run from its arguments: `headrace.bulk.run` and the command line both start here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from headrace.bulk.chosen_items import ChosenItems, Only, as_choice
from headrace.bulk.input_check import FIRST_PART, InputCheck
from headrace.bulk.prepared_run import PreparedRun
from headrace.bulk.prompts import PromptLike
from headrace.bulk.run_output import STDOUT, lines_path, table_of
from headrace.bulk.run_task import RunTask
from headrace.bulk.sources import IdFunction, RowsLike, RowSource, Source, as_input
from headrace.bulk.steps import Step, StepTask
from headrace.bulk.tables import Table, is_table
from headrace.bulk.task import Task
from headrace.errors import InputError

T = TypeVar("T", bound=Table)

_KEPT = 100_000
"""Items of a resumed run whose digests are kept in memory until they are compared with the journal."""

_BESIDE_STEPS = ("on_missing", "fail_on", "tags", "priority")
"""The arguments of a `Task` that a run with steps has for all steps together."""

_NOT_GIVEN: tuple[Any, ...] = (None, 0, (), {}, [])


def prepare_run(
    source: RowsLike,
    out: str | os.PathLike[str] | None,
    model: str | None,
    *,
    prompt: PromptLike | None = None,
    encoding: str | None = None,
    id_column: str | IdFunction | None = None,
    limit: int | None = None,
    table: str | os.PathLike[str] | None = None,
    only: Only | None = None,
    steps: Sequence[Step] | None = None,
    **arguments: Any,
) -> PreparedRun:
    """Check the arguments of a run and the beginning of its input.

    Args:
        source: See `headrace.bulk.run`, also for the following.
        out: The output.
        model: The model.
        prompt: The prompt.
        encoding: The encoding of text.
        id_column: The column of the ids.
        limit: How many items.
        table: The table.
        only: Which items; "failed" means nothing here, see `PreparedRun.open_journal`.
        steps: The steps of a job; None for one call per row.
        **arguments: The other arguments of a `Task`; None for the default of one.

    Raises:
        InputError: The input, the prompt, the ids or the table is not valid.
        JournalError: The output is not a file that can be written.
    """
    path, choice = None if out is None else lines_path(out), as_choice(only)
    items = as_input(source, id_column, limit, encoding)
    checked = checked_table(out, path, table, items, Table)
    chosen = items if choice is None else ChosenItems(items, choice)
    given = {name: value for name, value in arguments.items() if value is not None}
    task: Task | StepTask
    if steps is None:
        task = Task(chosen, prompt, model, **given)
    else:
        task = StepTask(chosen, steps, model, **_arguments_beside_steps(given, prompt))
    check = begin_check(task, path)
    return PreparedRun(
        task=task,
        check=check,
        source=items,
        out=path,
        to_stdout=out is not None and os.fspath(out) == STDOUT,
        table=checked,
    )


def begin_check(task: RunTask, out: Path | None) -> InputCheck:
    """A check of the input that has begun.

    Args:
        task: The task, with the input.
        out: The file of the lines, which exists if the run is resumed.

    Raises:
        InputError: The beginning of the input is not valid.
    """
    resumes = out is not None and out.exists()
    check = InputCheck(task, _KEPT if resumes else 0)
    check.advance(FIRST_PART, only_fetched=True)
    return check


def _arguments_beside_steps(given: Mapping[str, Any], prompt: PromptLike | None) -> Mapping[str, Any]:
    """The arguments of a run with steps; raises `InputError` for one that only a step may have."""
    if several := [f"{name}=" for name in ("samples", "vote") if given.get(name)]:
        raise InputError(f"steps: leave out {' and '.join(several)}; a step has one answer for each row")
    of_run = {name: value for name, value in given.items() if name in _BESIDE_STEPS}
    others = {"prompt": prompt, **given}
    of_step = [name for name, value in others.items() if name not in of_run and value not in _NOT_GIVEN]
    if of_step:
        names = ", ".join(f"{name}=" for name in of_step)
        raise InputError(f"steps: each step has its own requests; leave out {names}, or give them to a step")
    return of_run


def checked_table(
    out: str | os.PathLike[str] | None,
    lines: Path | None,
    table: str | os.PathLike[str] | None,
    source: Source | RowSource,
    kind: type[T],
) -> T | None:
    """The table of a run; see `table_of`."""
    if out is not None and isinstance(source, Source):
        return table_of(out, lines, table, source, kind)
    if table is not None or (out is not None and is_table(Path(out), kind.suffixes)):
        name = "table=" if table is not None else f"out={out}"
        raise InputError(
            f"{name}: a table is for an input file and an output; for rows, use the result's to_pandas()"
        )
    return None
