"""Writes a table as CSV."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

from headrace.bulk.output_line import OutputLine
from headrace.bulk.sources import Item
from headrace.bulk.tables.layout import TableLayout
from headrace.bulk.template import as_text


def write_csv(file: IO[bytes], layout: TableLayout, done: Iterator[tuple[Item, OutputLine]]) -> None:
    """Write a header and one row per item: comma, UTF-8, null as an empty cell, nested values as JSON.

    Values are not escaped for spreadsheets, because an apostrophe before each ``=`` would be wrong elsewhere.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        # The default line ends are those of RFC 4180; with others, csv does not quote values with a CR.
        writer = csv.writer(text)
        writer.writerow(layout.columns)
        for item, line in done:
            writer.writerow([_cell(value) for value in layout.values(item, line)])
    finally:
        text.detach()


def _cell(value: Any) -> str:
    if isinstance(value, array):
        value = list(value)
    return f"{value:f}" if isinstance(value, Decimal) else as_text(value)
