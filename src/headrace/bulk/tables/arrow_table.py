"""The answers of a run as Arrow: a table in memory, or batches for a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import Item, RowSource, Source
from headrace.bulk.tables.column_types import ColumnType
from headrace.bulk.tables.layout import TableLayout
from headrace.bulk.tables.output_index import OutputIndex
from headrace.bulk.tables.vector_column import vector_array, vector_type
from headrace.bulk.template import as_text
from headrace.errors import InputError

BATCH_ROWS = 128

_COST_DIGITS = 18


def read_table(source: Source | RowSource | None, output: OutputIndex) -> Any:
    """The finished items as a pyarrow table.

    Args:
        source: The input; None if it cannot be read again, so the table has no columns of it.
        output: The run's output.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise InputError("pip install 'headrace[parquet]' for tables; they need pyarrow") from None
    if source is None:
        layout = TableLayout(RowSource([]), output)
        done = ((Item(0, 0, line.custom_id, {}), line) for line in output.in_order())
    else:
        layout = TableLayout(source, output)
        done = ((item, line) for item in source.items() if (line := output.line_of(item)) is not None)
    schema = arrow_schema(layout, source)
    batches = arrow_batches(layout, source, output, done)
    return pyarrow.Table.from_batches(
        (pyarrow.record_batch(arrays, schema=schema) for arrays in batches), schema=schema
    )


def arrow_schema(layout: TableLayout, source: Source | RowSource | None) -> Any:
    """The pyarrow schema of a table; the columns of Parquet, Arrow and data frames keep their types."""
    import pyarrow

    schema = pyarrow.schema(
        [(name, _arrow_type(kind, layout.vector_length)) for name, kind in layout.columns.items()]
    )
    if source is not None and source.schema is not None:
        for name in layout.inputs:
            schema = schema.set(schema.get_field_index(name), source.schema.field(name))
    return schema


def arrow_batches(
    layout: TableLayout,
    source: Source | RowSource | None,
    output: OutputIndex,
    done: Iterator[tuple[Item, OutputLine]],
) -> Iterator[list[Any]]:
    """All columns, some rows at a time."""
    if source is not None and source.schema is not None:
        return _batches_of_arrow(layout, source, output)
    return _batches_of_rows(layout, done)


def _batches_of_rows(layout: TableLayout, done: Iterator[tuple[Item, OutputLine]]) -> Iterator[list[Any]]:
    """All columns, some rows at a time."""
    while some := list(islice(done, BATCH_ROWS)):
        rows = [layout.values(item, line) for item, line in some]
        yield _arrays(rows, list(layout.columns.values()), layout.vector_length)


def _batches_of_arrow(
    layout: TableLayout, source: Source | RowSource, output: OutputIndex
) -> Iterator[list[Any]]:
    """All columns, some rows at a time; the input's columns are copied with their types."""
    for items, batch in source.batches():
        found = [(place, item, line) for place, item in enumerate(items) if (line := output.line_of(item))]
        if not found:
            continue
        taken = batch.take([place for place, _, _ in found])
        ids = [] if layout.ids is None else _arrays([[item.id] for _, item, _ in found], ["text"])
        inputs = [taken.column(name) for name in layout.inputs]
        rows = [layout.own_values(line) for _, _, line in found]
        own = _arrays(rows, list(layout.own.values()), layout.vector_length)
        yield ids + inputs + own


def _arrays(
    rows: Sequence[Sequence[Any]], types: Sequence[ColumnType], vector_length: int | None = None
) -> list[Any]:
    import pyarrow

    return [
        vector_array(values, vector_length)
        if kind == "vector"
        else pyarrow.array(
            [None if value is None else _value(value, kind) for value in values], _arrow_type(kind)
        )
        for values, kind in zip(zip(*rows, strict=True), types, strict=True)
    ]


def _value(value: Any, kind: ColumnType) -> Any:
    if kind == "text":
        return as_text(value)
    if kind == "float":
        return float(value)
    return round(value, _COST_DIGITS) if isinstance(value, Decimal) else value


def _arrow_type(kind: ColumnType, vector_length: int | None = None) -> Any:
    import pyarrow

    if kind == "decimal":
        return pyarrow.decimal128(38, _COST_DIGITS)
    if kind == "vector":
        return vector_type(vector_length)
    types = {"bool": pyarrow.bool_, "int": pyarrow.int64, "float": pyarrow.float64, "text": pyarrow.string}
    return types[kind]()
