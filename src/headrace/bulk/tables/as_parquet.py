"""A table as Parquet, through pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import IO, Any

from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.answers import Answers, Record
from headrace.bulk.tables.kinds import Kind
from headrace.bulk.tables.layout import Layout
from headrace.bulk.template import as_text

_TOGETHER = 128
"""Rows that are made arrays of at once."""

_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 1 << 25
"""A row group is as large as the first of these allows; it is in memory until it is written."""

_COST_DIGITS = 18


def write_parquet(
    file: IO[bytes], layout: Layout, source: Source, answers: Answers, done: Iterator[tuple[Item, Record]]
) -> None:
    """Write a row an item; the columns of Parquet input keep their types."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _type(kind)) for name, kind in layout.columns.items()])
    if source.kind == "parquet":
        for name in layout.inputs:
            schema = schema.set(schema.get_field_index(name), source.schema.field(name))
        columns = _with_their_types(layout, source, answers)
    else:
        columns = _made(layout, done)
    with parquet.ParquetWriter(file, schema) as writer:
        waiting: list[Any] = []
        size = 0
        for arrays in columns:
            waiting.append(pyarrow.record_batch(arrays, schema=schema))
            size += waiting[-1].nbytes
            if size >= _GROUP_BYTES or len(waiting) * _TOGETHER >= _GROUP_ROWS:
                writer.write_table(pyarrow.Table.from_batches(waiting))
                waiting, size = [], 0
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting))


def _made(layout: Layout, done: Iterator[tuple[Item, Record]]) -> Iterator[list[Any]]:
    """All columns of some rows at a time."""
    while some := list(islice(done, _TOGETHER)):
        rows = [layout.values(item, record) for item, record in some]
        yield _arrays(rows, list(layout.columns.values()))


def _with_their_types(layout: Layout, source: Source, answers: Answers) -> Iterator[list[Any]]:
    """The same, with the input's columns as they are there."""
    for items, batch in source.batches():
        found = [(place, item, record) for place, item in enumerate(items) if (record := answers.of(item))]
        if not found:
            continue
        taken = batch.take([place for place, _, _ in found])
        ids = [] if layout.ids is None else _arrays([[item.id] for _, item, _ in found], ["text"])
        inputs = [taken.column(name) for name in layout.inputs]
        own = _arrays([layout.own_values(record) for _, _, record in found], list(layout.own.values()))
        yield ids + inputs + own


def _arrays(rows: Sequence[Sequence[Any]], kinds: Sequence[Kind]) -> list[Any]:
    import pyarrow

    return [
        pyarrow.array([None if value is None else _value(value, kind) for value in values], _type(kind))
        for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)
    ]


def _value(value: Any, kind: Kind) -> Any:
    if kind == "text":
        return as_text(value)
    if kind == "float":
        return float(value)
    return round(value, _COST_DIGITS) if isinstance(value, Decimal) else value


def _type(kind: Kind) -> Any:
    import pyarrow

    if kind == "decimal":
        return pyarrow.decimal128(38, _COST_DIGITS)
    types = {"bool": pyarrow.bool_, "int": pyarrow.int64, "float": pyarrow.float64, "text": pyarrow.string}
    return types[kind]()
