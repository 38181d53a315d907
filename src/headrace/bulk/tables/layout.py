"""The columns of a table, and the values of each row."""

from __future__ import annotations

from typing import Any

from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import Item, RowSource, Source
from headrace.bulk.tables.answer_columns import answer_columns
from headrace.bulk.tables.column_types import ColumnType, ColumnTypes
from headrace.bulk.tables.output_index import OutputIndex


class TableLayout:
    """The columns of a table: the item's id, the input's columns, and headrace's own columns.

    ``answer_`` is put before the name of an own column if the input already has a column of that name.

    Attributes:
        ids: The name of the id column if the input has none, else None.
        inputs: The input's columns with their types; the id column is the first.
        own: Headrace's columns with their types.
        vector_length: The length of all vectors; None if there are none, or if they differ.
    """

    def __init__(self, source: Source | RowSource, output: OutputIndex) -> None:
        self.inputs: dict[str, ColumnType] = _input_columns(source)
        taken = set(self.inputs)
        self.ids: str | None = None
        if source.id_column not in self.inputs:
            self.ids = _free_name("custom_id", taken)
        rest: dict[str, ColumnType] = {
            "error": "text",
            "finish_reason": "text",
            "attempts": "int",
            "elapsed": "float",
            "cost": "decimal",
        }
        self._with_fingerprints = output.fingerprints.are_several
        if self._with_fingerprints:
            rest["fingerprint"] = "int"
        keys = output.keys.types_of_members() if output.has_several else output.keys.types()
        lengths = output.vector_lengths
        self.vector_length: int | None = next(iter(lengths)) if len(lengths) == 1 else None
        self._with_vector = bool(lengths)
        self._with_text = output.has_texts or not (keys or lengths)
        if self._with_text:
            rest = {"answer": "text", **rest}
        elif not keys:
            del rest["finish_reason"]  # vectors have none
        self._with_reason = "finish_reason" in rest
        if self._with_vector:
            rest = {"embedding": "vector", **rest}
        names = {name: _free_name(name, taken) for name in rest}
        self._keys = list(keys)
        self.own: dict[str, ColumnType] = {_free_name(key, taken): found for key, found in keys.items()}
        self.own |= {names[name]: found for name, found in rest.items()}

    @property
    def columns(self) -> dict[str, ColumnType]:
        """All columns in order."""
        ids: dict[str, ColumnType] = {} if self.ids is None else {self.ids: "text"}
        return ids | self.inputs | self.own

    def values(self, item: Item, line: OutputLine) -> list[Any]:
        """The values of all columns for one item."""
        ids = [] if self.ids is None else [item.id]
        return ids + [item.row.get(name) for name in self.inputs] + self.own_values(line)

    def own_values(self, line: OutputLine) -> list[Any]:
        """The values of headrace's own columns for one item."""
        members, notes = answer_columns(line), line.headrace
        values = [None if members is None else members.get(key) for key in self._keys]
        if self._with_vector:
            values.append(line.vector)
        if self._with_text:
            values.append(line.answer if members is None else None)
        values.append(None if line.error is None else str(line.error))
        if self._with_reason:
            values.append(line.finish_reason)
        values += [notes.attempts, notes.elapsed, notes.cost]
        return [*values, notes.fingerprint] if self._with_fingerprints else values


def _input_columns(source: Source | RowSource) -> dict[str, ColumnType]:
    """The columns of the input, the id column first; none for the batch format."""
    if source.kind == "batch":
        return {}
    if source.schema is None and source.kind in (
        "jsonl",
        "json",
        "excel",
        "rows",
    ):  # values have types, and objects may have different columns
        found = ColumnTypes()
        for item in source.items():
            found.note(item.row)
        columns = found.types()
    else:
        columns = dict.fromkeys(source.columns, "text")
    if source.id_column is None or source.id_column not in columns:
        return columns
    return {source.id_column: columns[source.id_column], **columns}


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"answer_{name}"
    taken.add(name)
    return name
