"""A source: the items of a file of any supported kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs

from headrace._support.text import nearest
from headrace.bulk.sources.content_ids import ContentIds
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.parquet_rows import ParquetRows
from headrace.bulk.sources.text_rows import CsvRows, JsonRows, decode_object, first_line
from headrace.calls import Request
from headrace.endpoint import EMPTY
from headrace.errors import InputError
from headrace.wire.batch_lines import parse_batch_line

SourceKind = Literal["csv", "jsonl", "batch", "parquet"]


@attrs.define(eq=False)
class Item:
    """One item of the input.

    Attributes:
        index: Its position, from 0.
        line: Its line in the input, from 1; for Parquet its row.
        id: Its id.
        row: Its values by column; empty if there is a ``request``.
        request: The request, for common lines of the batch format.
        error: Why no request can be made for the item; None if one can.
    """

    index: int
    line: int
    id: str
    row: Mapping[str, Any] = attrs.field(repr=False)
    request: Request | None = attrs.field(default=None, repr=False)
    error: InputError | None = None


class TaskInput(Protocol):
    """The input of a task: a `Source`, or an engine's own input; ``where`` names a line in messages."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> SourceKind: ...
    @property
    def id_column(self) -> str | None: ...
    def where(self, line: int, /) -> str: ...
    def items(self) -> Iterator[Item]: ...


class Source:
    """A file of items that can be read several times.

    The kind is detected from the content: Parquet by its first bytes; JSONL by a first line that begins with
    ``{``; OpenAI's batch format if that line has ``url`` and ``body``; anything else is CSV with a header and
    comma, semicolon or tab as separator. Text is UTF-8, and may be compressed with gzip or zstd.

    Args:
        path: The file; "-" is stdin, which is copied to a temporary file.
        id_column: The column of the ids; None for ``custom_id`` or ``id``. Without such a column, ids are
            made of the rows' contents; see `ContentIds`.
        limit: Read only the first items; None for all.

    Attributes:
        kind: "csv", "jsonl", "batch" or "parquet".
        columns: The names of the columns; of JSON, the members of the first line.

    Raises:
        InputError: The file cannot be read, is empty, or lacks the column.
    """

    def __init__(
        self, path: str | os.PathLike[str], id_column: str | None = None, limit: int | None = None
    ) -> None:
        self.limit = limit
        self._file = InputFile(path)
        self.name: str = self._file.name
        self._rows: CsvRows | JsonRows | ParquetRows
        self.kind: SourceKind
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
        """SHA-256 of the bytes of the file, in hex."""
        return self._file.digest()

    def is_at(self, path: Path) -> bool:
        """Whether this is the file at ``path``."""
        return self._file.is_at(path)

    def where(self, line: int) -> str:
        """The file and a line of it (for Parquet a row), for messages."""
        return f"{self.name}, row {line}" if self.kind == "parquet" else f"{self.name}:{line}"

    def items(self) -> Iterator[Item]:
        """All items in order; raises `InputError` with file and line for a bad item."""
        if isinstance(self._rows, ParquetRows):
            items: Iterator[Item] = itertools.chain.from_iterable(items for items, _ in self.batches())
        else:
            items = self._batch_items() if self.kind == "batch" else self._row_items(self._rows)
        return items if self.limit is None else itertools.islice(items, self.limit)

    @property
    def schema(self) -> Any:
        """The pyarrow schema of a Parquet file."""
        assert isinstance(self._rows, ParquetRows)
        return self._rows.schema

    def batches(self) -> Iterator[tuple[list[Item], Any]]:
        """The items of a Parquet file in batches, each with its pyarrow record batch."""
        assert isinstance(self._rows, ParquetRows)
        index, id_of = 0, self._ids()
        for batch in self._rows.batches():
            if self.limit is not None and index >= self.limit:
                return
            rows = enumerate(self._rows.rows_of(batch), index)
            yield (
                [Item(number, number + 1, id_of(number + 1, row), row) for number, row in rows],
                batch,
            )
            index += len(batch)

    def _row_items(self, rows: CsvRows | JsonRows) -> Iterator[Item]:
        id_of = self._ids()
        for index, (line, row) in enumerate(rows):
            yield Item(index, line, id_of(line, row), row)

    def _batch_items(self) -> Iterator[Item]:
        assert isinstance(self._rows, JsonRows)
        by_custom_id, id_of = self.id_column == "custom_id", self._ids()
        for index, (number, line) in enumerate(self._rows.lines()):
            request = parse_batch_line(line) if by_custom_id else None
            if request is not None and request.id:
                yield Item(index, number, request.id, EMPTY, request)
            else:  # an uncommon or wrong line: decode it fully, which finds the error
                row = decode_object(line, self.where(number))
                yield Item(index, number, id_of(number, row), row)

    def _ids(self) -> Callable[[int, Mapping[str, Any]], str]:
        """A function that returns the id of a line's row; it is called once for each row of a pass."""
        if self.id_column is not None:
            return self._id
        ids = ContentIds()
        return lambda line, row: ids.id_of(row)

    def _id(self, line: int, row: Mapping[str, Any]) -> str:
        assert self.id_column is not None
        value = row.get(self.id_column)
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str) or not value:
            where = self.where(line)
            if self.id_column not in row:
                known = nearest(self.id_column, row)
                raise InputError(f"{where}: no column {self.id_column!r} for the id; {known}")
            raise InputError(f"{where}: {self.id_column!r} must be a string that is not empty")
        return value
