"""Writes a table as Parquet, with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.arrow_table import BATCH_ROWS, arrow_batches, arrow_schema
from headrace.bulk.tables.layout import TableLayout
from headrace.bulk.tables.output_index import OutputIndex

_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 1 << 25
"""The most rows and bytes of a row group, which is in memory until it is written."""


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

    schema = arrow_schema(layout, source)
    with parquet.ParquetWriter(file, schema) as writer:
        waiting: list[Any] = []
        size = 0
        for arrays in arrow_batches(layout, source, output, done):
            waiting.append(pyarrow.record_batch(arrays, schema=schema))
            size += waiting[-1].nbytes
            if size >= _GROUP_BYTES or len(waiting) * BATCH_ROWS >= _GROUP_ROWS:
                writer.write_table(pyarrow.Table.from_batches(waiting))
                waiting, size = [], 0
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting))
