"""A source: the items of a file, whatever its kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs

from headrace._support.text import nearest
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.parquet_rows import ParquetRows
from headrace.bulk.sources.text_rows import CsvRows, JsonRows, decode_object, first_line
from headrace.calls import Request
from headrace.endpoint import EMPTY
from headrace.errors import InputError
from headrace.wire.batch_lines import parse_batch_line

Kind = Literal["csv", "jsonl", "batch", "parquet"]


@attrs.define(eq=False)
class Item:
    """One item: its place from 0, its line in the input from 1 (of Parquet: its row), its id, and its row.

    In the batch format there is a ``request`` in place of the row, but for lines that are unusual.
    """

    index: int
    line: int
    id: str
    row: Mapping[str, Any] = attrs.field(repr=False)
    request: Request | None = attrs.field(default=None, repr=False)


class Items(Protocol):
    """Where a task's items come from: a `Source`, or what an engine has of an input.

    ``where`` says how messages name one of its lines, ``digest`` what tells it from other inputs.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def id_column(self) -> str | None: ...
    def where(self, line: int, /) -> str: ...
    def items(self) -> Iterator[Item]: ...
    def digest(self) -> str: ...


class Source:
    """A file of items that can be read several times.

    ``path`` "-" is stdin, kept in a temporary file. The ``kind`` is recognised from the content: Parquet by
    its first bytes; a first line that begins with ``{`` is JSONL, and OpenAI's batch format if it has ``url``
    and ``body``; anything else is CSV with a header, separated by comma, semicolon or tab. Text is UTF-8, and
    may be compressed with gzip or zstd. ``columns`` are the file's, or the first line's of JSON.

    An item's id is the value of ``id_column``; where that is None, of a column ``custom_id`` or ``id``;
    where there is none, ``row-1``, ``row-2``, ….

    ``limit``: only so many items, from the first on (default: all).

    Raises `InputError` for a file that cannot be read, is empty, or has no such column.
    """

    def __init__(
        self, path: str | os.PathLike[str], id_column: str | None = None, limit: int | None = None
    ) -> None:
        self.limit = limit
        self._file = InputFile(path)
        self.name: str = self._file.name
        self._rows: CsvRows | JsonRows | ParquetRows
        self.kind: Kind
        if self._file.is_parquet:
            self.kind, self._rows = "parquet", ParquetRows(self._file)
        elif (first := first_line(self._file)).lstrip().startswith("{"):
            self._rows = JsonRows(self._file, first)
            self.kind = "batch" if {"url", "body"} <= set(self._rows.columns) else "jsonl"
        else:
            self.kind, self._rows = "csv", CsvRows(self._file, first)
        self.columns: list[str] = self._rows.columns
        if id_column is None:
            id_column = next((name for name in ("custom_id", "id") if name in self.columns), None)
        elif id_column not in self.columns:
            where = self.name if self.kind == "parquet" else self.where(1)
            raise InputError(f"{where}: no column {id_column!r}; {nearest(id_column, self.columns)}")
        self.id_column = id_column

    def digest(self) -> str:
        """SHA-256 of the file as it is, in hex."""
        return self._file.digest()

    def is_at(self, path: Path) -> bool:
        """True where this is the file at ``path``."""
        return self._file.is_at(path)

    def where(self, line: int) -> str:
        """The file and a line of it (of Parquet: a row), as messages begin."""
        return f"{self.name}, row {line}" if self.kind == "parquet" else f"{self.name}:{line}"

    def items(self) -> Iterator[Item]:
        """All items in order; raises `InputError` with file and line for a bad one."""
        if isinstance(self._rows, ParquetRows):
            items: Iterator[Item] = itertools.chain.from_iterable(items for items, _ in self.batches())
        else:
            items = self._batch_items() if self.kind == "batch" else self._row_items(self._rows)
        return items if self.limit is None else itertools.islice(items, self.limit)

    @property
    def schema(self) -> Any:
        """The columns of a Parquet file and their types, as pyarrow has them."""
        assert isinstance(self._rows, ParquetRows)
        return self._rows.schema

    def batches(self) -> Iterator[tuple[list[Item], Any]]:
        """The items of a Parquet file, some at a time, each time with pyarrow's record batch of them."""
        assert isinstance(self._rows, ParquetRows)
        index = 0
        for batch in self._rows.batches():
            if self.limit is not None and index >= self.limit:
                return
            rows = enumerate(self._rows.rows_of(batch), index)
            yield (
                [Item(number, number + 1, self._id(number, number + 1, row), row) for number, row in rows],
                batch,
            )
            index += len(batch)

    def _row_items(self, rows: CsvRows | JsonRows) -> Iterator[Item]:
        for index, (line, row) in enumerate(rows):
            yield Item(index, line, self._id(index, line, row), row)

    def _batch_items(self) -> Iterator[Item]:
        assert isinstance(self._rows, JsonRows)
        by_custom_id = self.id_column == "custom_id"
        for index, (number, line) in enumerate(self._rows.lines()):
            request = parse_batch_line(line) if by_custom_id else None
            if request is not None and request.id:
                yield Item(index, number, request.id, EMPTY, request)
            else:  # what is wrong with it, or unusual, shows when it is read like any other
                row = decode_object(line, self.where(number))
                yield Item(index, number, self._id(index, number, row), row)

    def _id(self, index: int, line: int, row: Mapping[str, Any]) -> str:
        if self.id_column is None:
            return f"row-{index + 1}"
        value = row.get(self.id_column)
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str) or not value:
            where = self.where(line)
            if self.id_column not in row:
                known = nearest(self.id_column, row)
                raise InputError(f"{where}: no column {self.id_column!r} for the id; {known}")
            raise InputError(f"{where}: {self.id_column!r} must be a text that is not empty")
        return value
