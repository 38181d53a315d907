"""Writes a table as Parquet, with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import IO, Any

from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.column_types import ColumnType
from headrace.bulk.tables.layout import TableLayout
from headrace.bulk.tables.output_index import OutputIndex
from headrace.bulk.template import as_text

_BATCH_ROWS = 128

_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 1 << 25
"""The most rows and bytes of a row group, which is in memory until it is written."""

_COST_DIGITS = 18


def write_parquet(
    file: IO[bytes],
    layout: TableLayout,
    source: Source,
    output: OutputIndex,
    done: Iterator[tuple[Item, OutputLine]],
) -> None:
    """Write one row per item; the columns of Parquet and Arrow input keep their types."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _arrow_type(kind)) for name, kind in layout.columns.items()])
    if source.schema is not None:
        for name in layout.inputs:
            schema = schema.set(schema.get_field_index(name), source.schema.field(name))
        batches = _batches_of_arrow(layout, source, output)
    else:
        batches = _batches_of_rows(layout, done)
    with parquet.ParquetWriter(file, schema) as writer:
        waiting: list[Any] = []
        size = 0
        for arrays in batches:
            waiting.append(pyarrow.record_batch(arrays, schema=schema))
            size += waiting[-1].nbytes
            if size >= _GROUP_BYTES or len(waiting) * _BATCH_ROWS >= _GROUP_ROWS:
                writer.write_table(pyarrow.Table.from_batches(waiting))
                waiting, size = [], 0
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting))


def _batches_of_rows(layout: TableLayout, done: Iterator[tuple[Item, OutputLine]]) -> Iterator[list[Any]]:
    """All columns, some rows at a time."""
    while some := list(islice(done, _BATCH_ROWS)):
        rows = [layout.values(item, line) for item, line in some]
        yield _arrays(rows, list(layout.columns.values()))


def _batches_of_arrow(layout: TableLayout, source: Source, output: OutputIndex) -> Iterator[list[Any]]:
    """All columns, some rows at a time; the input's columns are copied with their types."""
    for items, batch in source.batches():
        found = [(place, item, line) for place, item in enumerate(items) if (line := output.line_of(item))]
        if not found:
            continue
        taken = batch.take([place for place, _, _ in found])
        ids = [] if layout.ids is None else _arrays([[item.id] for _, item, _ in found], ["text"])
        inputs = [taken.column(name) for name in layout.inputs]
        own = _arrays([layout.own_values(line) for _, _, line in found], list(layout.own.values()))
        yield ids + inputs + own


def _arrays(rows: Sequence[Sequence[Any]], types: Sequence[ColumnType]) -> list[Any]:
    import pyarrow

    return [
        pyarrow.array([None if value is None else _value(value, kind) for value in values], _arrow_type(kind))
        for values, kind in zip(zip(*rows, strict=True), types, strict=True)
    ]


def _value(value: Any, kind: ColumnType) -> Any:
    if kind == "text":
        return as_text(value)
    if kind == "float":
        return float(value)
    return round(value, _COST_DIGITS) if isinstance(value, Decimal) else value


def _arrow_type(kind: ColumnType) -> Any:
    import pyarrow

    if kind == "decimal":
        return pyarrow.decimal128(38, _COST_DIGITS)
    types = {"bool": pyarrow.bool_, "int": pyarrow.int64, "float": pyarrow.float64, "text": pyarrow.string}
    return types[kind]()
