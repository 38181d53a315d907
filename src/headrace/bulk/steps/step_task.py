"""The task of a job with steps: a `Task` for each step, and what they need of the input."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import attrs

from headrace._support.text import nearest, quoted
from headrace.bulk.expressions import Expression
from headrace.bulk.fail_on import DEFAULT_FAIL_ON, parse_fail_on
from headrace.bulk.nested_keys import explain_missing, find_value, value_at
from headrace.bulk.sources import Item, TaskInput
from headrace.bulk.steps.step import Step
from headrace.bulk.task import OnMissing, Task
from headrace.errors import InputError
from headrace.wire.request_bodies import encode_json


@attrs.frozen
class PlannedStep:
    """A step with a checked prompt and condition; ``column`` is the column of its answers."""

    name: str
    column: str
    task: Task
    when: Expression | None

    def names(self) -> Sequence[str] | None:
        """The columns and answers that it reads; None for the whole row."""
        if self.task.columns is None:
            return None
        return [*self.task.columns, *(() if self.when is None else self.when.names)]


@attrs.frozen
class StepTask:
    """Makes the requests of a job with steps. `StepCalls` decides which request a row needs next.

    Args:
        source: The items.
        steps: The steps, in order.
        model: The model of steps that name none.
        on_missing: What happens if a row lacks a column; see `Task`, also for the following.
        fail_on: The finish reasons that make a step fail.
        tags: Tags of all requests.
        priority: The priority of all requests.

    Raises:
        InputError: The steps are not valid, or do not fit together or to the input.
    """

    source: TaskInput
    _given: Sequence[Step]
    model: str | None
    on_missing: OnMissing = "refuse"
    fail_on: Set[str] = attrs.field(default=DEFAULT_FAIL_ON, converter=parse_fail_on)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    priority: int | str = 0
    steps: tuple[PlannedStep, ...] = attrs.field(init=False)
    _columns: Sequence[str] | None = attrs.field(init=False, repr=False)
    _no_answers: Mapping[str, None] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = list(self._given)
        if not given or not all(isinstance(step, Step) for step in given):
            raise InputError("steps: must be a list of headrace.Step, with at least one")
        if self.source.kind == "batch":
            raise InputError(
                f"{self.source.name}: this is OpenAI's batch format, whose lines are whole requests; "
                "steps need rows with columns"
            )
        self._check_columns(given)
        steps = tuple(self._planned(step) for step in given)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "_no_answers", dict.fromkeys(step.column for step in steps))
        for place, step in enumerate(steps):
            self._check_order(step, steps[place:])
        object.__setattr__(self, "_columns", self._used_columns())

    def _check_columns(self, steps: Sequence[Step]) -> None:
        """Check that names are distinct, and that no answer hides a column of the input."""
        for what, names in (
            ("name", [each.name for each in steps]),
            ("output", [each.column for each in steps]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise InputError(f"steps: two steps have the {what} {quoted(name)}; rename one")
        taken = getattr(self.source, "columns", ())
        for step in steps:
            if step.column in taken:
                raise InputError(
                    f"step {quoted(step.name)}: the input has a column {quoted(step.column)} already; "
                    "name another one for the answers with output="
                )

    def _planned(self, step: Step) -> PlannedStep:
        where = f"step {quoted(step.name)}"
        try:
            task = Task(
                self.source,
                model=step.model or self.model,
                on_missing=self.on_missing,
                tags=self.tags,
                priority=self.priority,
                **step.task_arguments(),
            )
        except InputError as error:
            raise InputError(f"{where}: {error}") from error.__cause__
        if step.when is None:
            return PlannedStep(step.name, step.column, task, None)
        if not isinstance(step.when, str):
            raise InputError(f"{where}: when=: must be a string, not {type(step.when).__name__}")
        try:
            return PlannedStep(step.name, step.column, task, Expression(step.when))
        except InputError as error:
            raise InputError(f"{where}: when=: {error}") from None

    def _check_order(self, step: PlannedStep, own_and_later: Sequence[PlannedStep]) -> None:
        """Check that a step names no answer that is not there yet, and no member that an answer lacks."""
        later = {each.column: each for each in own_and_later}
        earlier = {each.column: each for each in self.steps if each not in own_and_later}
        for name in step.names() or ():
            column, _, member = name.partition(".")
            if column in earlier and (reason := _no_member(earlier[column].task, member.partition(".")[0])):
                raise InputError(f"step {quoted(step.name)}: names {quoted(name)}, but {reason}")
            other = later.get(column)
            if other is not None:
                what = (
                    "its own answer"
                    if other is step
                    else f"the answer of the later step {quoted(other.name)}"
                )
                raise InputError(
                    f"step {quoted(step.name)}: names {quoted(name)}, {what}; name an earlier step"
                )

    def _used_columns(self) -> Sequence[str] | None:
        """The columns of the input that all steps together use; None for the whole row."""
        used: list[str] = []
        for step in self.steps:
            names = step.names()
            if names is None:
                return None
            used += [name for name in names if not self.is_answer(name)]
        return list(dict.fromkeys(used))

    def is_answer(self, name: str) -> bool:
        """Whether a name in a prompt or condition is that of an answer, or of a member of one."""
        return name.partition(".")[0] in self._no_answers

    def digest(self, item: Item) -> int:
        """A checksum of the part of a row that its requests are made of; see `Task.digest`."""
        row = item.row
        if self._columns is None:
            return zlib.crc32(encode_json(row)) or 1
        used = [row[name] if name in row else find_value(row, name) for name in self._columns]
        return zlib.crc32(encode_json(used)) or 1

    def check_item(self, item: Item) -> None:
        """Raise `InputError` for an item that lacks a column, unless ``on_missing`` allows it."""
        row = self.with_answers(item, self._no_answers)
        for step in self.steps:
            try:
                step.task.check_item(row)
                if self.on_missing == "refuse":
                    self.check_condition(step, row)
            except InputError as error:
                raise InputError(f"step {quoted(step.name)}: {error}") from None

    def check_condition(self, step: PlannedStep, item: Item) -> None:
        """Raise `InputError` if the row lacks a column of a step's condition."""
        for name in () if step.when is None else step.when.names:
            if name in item.row or self.is_answer(name):
                continue
            try:
                value_at(item.row, name)
            except KeyError:
                why = explain_missing(item.row, name)
                raise InputError(
                    f"{self.source.where(item.line)}: no column {quoted(name)} for the condition; {why}"
                ) from None

    def with_answers(self, item: Item, answers: Mapping[str, Any]) -> Item:
        """The item with the answers as further columns.

        Raises:
            InputError: The row has a column with the name of an answer.
        """
        for name in self._no_answers.keys() & item.row.keys():
            raise InputError(
                f"{self.source.where(item.line)}: has a column {quoted(name)}, which is the output of a "
                "step; rename one of them"
            )
        return attrs.evolve(item, row={**item.row, **answers})

    def fingerprint(self) -> dict[str, Any]:
        """The values that must be the same when a run is resumed; the items may differ."""
        found: dict[str, Any] = {
            "id_column": self.source.id_column,
            "steps": [step.name for step in self.steps],
        }
        for step in self.steps:
            own = {"when": None if step.when is None else step.when.text, "output": step.column}
            members = own | step.task.fingerprint()
            del members["id_column"]
            found |= {f"{step.name}.{key}": value for key, value in members.items()}
        return found


def _no_member(task: Task, member: str) -> str | None:
    """Why the answers of a task have no such member; None if they may have it."""
    if not member:
        return None
    answer = task.answer
    if answer is None or answer.is_wrapped:
        return "the answer of that step is not an object; give it a schema, or name the answer itself"
    members = answer.schema.get("properties", {})
    if member in members or answer.schema.get("additionalProperties", True) is not False:
        return None
    return f"the answer of that step has no {quoted(member)}; {nearest(member, members)}"
