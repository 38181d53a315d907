"""A table as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

from headrace.bulk.sources import Item
from headrace.bulk.tables.answers import Record
from headrace.bulk.tables.layout import Layout
from headrace.bulk.template import as_text


def write_csv(file: IO[bytes], layout: Layout, done: Iterator[tuple[Item, Record]]) -> None:
    """Write a header and a row an item: comma, UTF-8, null as nothing, what is nested as JSON.

    Values are written as they are, whatever they begin with: a table is data, and an apostrophe before each
    ``=`` would be wrong in every program but a spreadsheet.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        # The line ends of RFC 4180, which the module has by default: it quotes values with CR only so.
        writer = csv.writer(text)
        writer.writerow(layout.columns)
        for item, record in done:
            writer.writerow([_cell(value) for value in layout.values(item, record)])
    finally:
        text.detach()


def _cell(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else as_text(value)
