"""The columns of a table, and what stands in them."""

from __future__ import annotations

from typing import Any

from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.answers import Answers, Record
from headrace.bulk.tables.kinds import Kind, Kinds


class Layout:
    """Which columns a table has: the item's id, the input's own, and headrace's ``own``.

    ``inputs`` are the names of the input's columns and their kinds; the column of the ids is the first of
    them, or, where the input has none, ``ids``, which is None otherwise. A column of headrace's whose name
    the input has already gets ``answer_`` before it.
    """

    def __init__(self, source: Source, answers: Answers) -> None:
        self.inputs: dict[str, Kind] = _inputs(source)
        taken = set(self.inputs)
        self.ids: str | None = None
        if source.id_column not in self.inputs:
            self.ids = _free("custom_id", taken)
        rest: dict[str, Kind] = {"error": "text", "attempts": "int", "elapsed": "float", "cost": "decimal"}
        keys = answers.keys.kinds()
        self._with_text = answers.texts or not keys
        if self._with_text:
            rest = {"answer": "text", **rest}
        names = {name: _free(name, taken) for name in rest}
        self._keys = list(keys)
        self.own: dict[str, Kind] = {_free(key, taken): kind for key, kind in keys.items()}
        self.own |= {names[name]: kind for name, kind in rest.items()}

    @property
    def columns(self) -> dict[str, Kind]:
        """All columns in order."""
        ids: dict[str, Kind] = {} if self.ids is None else {self.ids: "text"}
        return ids | self.inputs | self.own

    def values(self, item: Item, record: Record) -> list[Any]:
        """What stands in all columns for one item."""
        ids = [] if self.ids is None else [item.id]
        return ids + [item.row.get(name) for name in self.inputs] + self.own_values(record)

    def own_values(self, record: Record) -> list[Any]:
        """What stands in the own columns for one item."""
        answer, notes = record.answer, record.headrace
        is_object = isinstance(answer, dict)
        values = [answer.get(key) if is_object else None for key in self._keys]
        if self._with_text:
            values.append(None if is_object else answer)
        return [*values, record.what_failed, notes.attempts, notes.elapsed, notes.cost]


def _inputs(source: Source) -> dict[str, Kind]:
    """The columns of the input, that of the ids first; none of the batch format."""
    if source.kind == "batch":
        return {}
    if source.kind == "jsonl":  # whose lines may have different ones
        found = Kinds()
        for item in source.items():
            found.note(item.row)
        columns = found.kinds()
    else:
        columns = dict.fromkeys(source.columns, "text")
    if source.id_column is None:
        return columns
    return {source.id_column: columns[source.id_column], **columns}


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"answer_{name}"
    taken.add(name)
    return name
