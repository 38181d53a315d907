"""`headrace run --dry-run` for a job with steps: the requests of each step, as far as they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from headrace._support.text import printable
from headrace._support.units import format_count
from headrace.bulk.steps import StepTask
from headrace.cli.dry_run import SHOWN, Estimate, addresses, figures, price_of, shown_request
from headrace.cli.media_preview import check_files
from headrace.errors import InputError
from headrace.wire.request_bodies import as_request

if TYPE_CHECKING:
    from headrace.bulk.prepared_run import PreparedRun
    from headrace.bulk.sources import Item
    from headrace.bulk.steps.step_task import PlannedStep
    from headrace.calls import Request
    from headrace.client import Client
    from headrace.pipeline.bulk_engines import ExecutorEngine


@attrs.define
class _Numbers:
    """For how many rows a step is sent, may be sent, and would fail without a call."""

    sure: int = 0
    possible: int = 0
    failing: int = 0
    first: InputError | None = None


class _Preview:
    """The requests of all rows, with a placeholder for each answer."""

    def __init__(self, client: Client, task: StepTask, engine: ExecutorEngine | None) -> None:
        self._model, self._task, self._price = client.settings.model, task, price_of(client)
        self._placeholders = {step.column: _placeholder(step) for step in task.steps}
        self.estimate, self.with_engine = Estimate(), Estimate()
        self.engine_price = getattr(engine, "price_of", lambda client: None)(client)
        self.numbers = {step.name: _Numbers() for step in task.steps}
        self.lines: list[str] = []

    def add(self, item: Item, *, shown: bool) -> None:
        """Count the requests of a row, and show them."""
        lines = [f"--- {item.id}"]
        try:
            row = self._task.with_answers(item, self._placeholders)
        except InputError as error:
            lines.append(f"would fail: {error}")
            self._note_failure(self._task.steps[0], error)
        else:
            for step in self._task.steps:
                lines += self._shown_step(step, row)
        if shown:
            self.lines += map(printable, lines)

    def _shown_step(self, step: PlannedStep, row: Item) -> list[str]:
        numbers, heading = self.numbers[step.name], f"step {step.name}"
        unknown = step.when is not None and any(map(self._task.is_answer, step.when.names))
        try:
            if step.when is not None:
                heading += f", if {step.when.text}"
                self._task.check_condition(step, row)
                if not unknown and not step.when.holds(row.row):
                    return [f"{heading}: skipped"]
            request: Request = as_request(step.task.request(row), self._model)
            check_files(request.body or {})
        except InputError as error:
            self._note_failure(step, error)
            return [f"{heading}: would fail: {error}"]
        numbers.possible += unknown
        numbers.sure += not unknown
        self.estimate.add(request, self._price)
        if self.engine_price is not None:
            self.with_engine.add(request, self.engine_price)
        return [f"{heading}:", *shown_request(request)]

    def _note_failure(self, step: PlannedStep, error: InputError) -> None:
        numbers = self.numbers[step.name]
        numbers.failing += 1
        numbers.first = numbers.first or error


def _placeholder(step: PlannedStep) -> Any:
    """What stands for an answer: ``<category>``; for a typed answer, each member has one."""
    answer = step.task.answer
    if answer is None or answer.is_wrapped:
        return f"<{step.column}>"
    return {name: f"<{step.column}.{name}>" for name in answer.schema.get("properties", {})}


def preview_steps(client: Client, prepared: PreparedRun, engine: ExecutorEngine | None = None) -> str:
    """The requests of the first rows, how many each step has, and an estimate; sends nothing.

    If ``engine`` has its own prices, both costs are shown.
    """
    task, rows = prepared.task, prepared.check.finish()
    assert isinstance(task, StepTask)
    preview = _Preview(client, task, engine)
    for number, item in enumerate(task.source.items()):
        preview.add(item, shown=number < SHOWN)
    sure = sum(numbers.sure for numbers in preview.numbers.values())
    most = sure + sum(numbers.possible for numbers in preview.numbers.values())
    between = "" if sure == most else f"{sure:,} to "
    lines = [
        *preview.lines,
        f"{between}{format_count(most, 'request')} for {format_count(rows, 'row')} would be sent to "
        f"{addresses(client)}; nothing was.",
    ]
    for place, step in enumerate(task.steps):
        lines.append(f"  {'' if place else 'steps':8}   {step.name}: {_text(preview.numbers[step.name])}")
    costs = [("estimated", preview.estimate)]
    if engine is not None and preview.engine_price is not None:
        costs = [("at once", preview.estimate), (engine.name, preview.with_engine)]
    lines += figures(preview.estimate, most, costs)
    if len(task.steps) > 1:
        lines.append(
            "  The answer of an earlier step is not known here; <name> stands for it. The estimate counts it "
            "as this text, and counts each step that may be sent."
        )
    return "\n".join(lines)


def _text(numbers: _Numbers) -> str:
    parts = []
    if numbers.sure or not numbers.possible:
        parts.append(f"{numbers.sure:,}")
    if numbers.possible:
        parts.append(f"at most {numbers.possible:,}, depending on earlier answers")
    if numbers.first is not None:
        parts.append(f"{numbers.failing:,} would fail without a call; first: {numbers.first}")
    return ", ".join(parts)
