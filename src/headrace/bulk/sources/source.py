"""A source: the items of a file of any supported kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from headrace._support.text import nearest
from headrace.bulk.sources.columnar_rows import ArrowRows, ColumnarRows, ParquetRows
from headrace.bulk.sources.content_ids import ContentIds
from headrace.bulk.sources.csv_rows import CsvRows
from headrace.bulk.sources.detection import SourceKind, detect_kind
from headrace.bulk.sources.excel_rows import ExcelRows
from headrace.bulk.sources.fetched_items import FetchedItems
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.item import Item
from headrace.bulk.sources.item_id import as_id
from headrace.bulk.sources.json_array_rows import JsonArrayRows
from headrace.bulk.sources.jsonl_rows import JsonlRows, decode_object
from headrace.bulk.sources.text_prefix import PrefixReader, TextPrefix
from headrace.endpoint import EMPTY
from headrace.errors import InputError
from headrace.wire.batch_lines import parse_batch_line

_WITH_LINES = frozenset(("csv", "jsonl", "batch"))
"""Kinds whose items are named by their line; items of others are named by their row."""


_Rows: TypeAlias = CsvRows | JsonlRows | JsonArrayRows | ColumnarRows | ExcelRows

_ROWS: Mapping[SourceKind, Callable[[InputFile], _Rows]] = {
    "csv": CsvRows,
    "jsonl": JsonlRows,
    "json": JsonArrayRows,
    "parquet": ParquetRows,
    "arrow": ArrowRows,
    "excel": ExcelRows,
}


class Source:
    """A file of items that can be read several times.

    The kind is detected from the content. Parquet, Arrow (a file, also called Feather, or a stream) and Excel
    (.xlsx, its first sheet) have magic bytes. Text that begins with ``{`` is JSONL, or OpenAI's batch format
    if its first line has ``url`` and ``body``. Text that begins with ``[`` is a JSON array of objects.
    Anything else is CSV with a header; its delimiter is found by the header and the first rows, or declared
    by a first line like ``sep=;``.

    Text may be compressed with gzip or zstd. An input that is changed later is noticed: reading raises
    `InputError`, and no changed row is returned.

    Args:
        path: The file; "-" is stdin. Stdin and pipes are copied to a temporary file. A URL of fsspec, like
            ``s3://bucket/rows.parquet``, is downloaded to one as it is read; see `RemoteFile`.
        id_column: The column of the ids; None for ``custom_id`` or ``id``. Without such a column, ids are
            made of the rows' contents; see `ContentIds`.
        limit: Read only the first items; None for all.
        encoding: The encoding of text, like "cp1252"; None for UTF-8, or for UTF-16 or UTF-32 with a byte
            order mark.

    Attributes:
        kind: "csv", "jsonl", "json" (an array), "batch", "parquet", "arrow" or "excel".
        columns: The names of the columns; of JSON, the members of the first object.
        is_async: Whether reading may wait for the network, so that an event loop reads `async_items`.

    Raises:
        InputError: The file cannot be read, is empty, or lacks the column.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        id_column: str | None = None,
        limit: int | None = None,
        encoding: str | None = None,
    ) -> None:
        self.limit = limit
        self._file = InputFile(path, encoding)
        self.name: str = self._file.name
        self.is_async: bool = self._file.is_remote
        self._rows: _Rows
        self.kind: SourceKind = detect_kind(self._file)
        self._rows = _ROWS[self.kind](self._file)
        if self.kind == "jsonl" and {"url", "body"} <= set(self._rows.columns):
            self.kind = "batch"
        self.columns: list[str] = self._rows.columns
        if id_column is None:
            id_column = next((name for name in ("custom_id", "id") if name in self.columns), None)
        elif id_column not in self.columns:
            where = self.where(1) if self.kind in _WITH_LINES else self.name
            raise InputError(f"{where}: no column {id_column!r}; {nearest(id_column, self.columns)}")
        self.id_column = id_column

    def digest(self) -> str:
        """SHA-256 of the bytes of the file, in hex."""
        return self._file.digest()

    def is_at(self, path: Path) -> bool:
        """Whether this is the file at ``path``."""
        return self._file.is_at(path)

    def where(self, line: int) -> str:
        """The file and a line of it (a row, for kinds without lines), for messages."""
        return f"{self.name}:{line}" if self.kind in _WITH_LINES else f"{self.name}, row {line}"

    def items(self) -> Iterator[Item]:
        """All items in order; raises `InputError` with file and line for a bad item."""
        return self.items_after(None)

    def items_after(self, prefix: TextPrefix | None) -> Iterator[Item]:
        """The items after a beginning of the file that has not changed; all items if it is None."""
        begin = 0 if prefix is None else prefix.index
        items = self._batch_items(prefix) if self.kind == "batch" else self._row_items(prefix)
        return items if self.limit is None else itertools.islice(items, max(0, self.limit - begin))

    def prefix_reader(self) -> PrefixReader | None:
        """Reads the beginning of the file, by which items can be skipped; None if they cannot.

        Without an id column, the id of an item depends on the items before it.
        """
        can_skip = self.kind in _WITH_LINES and self.id_column is not None and self._file.is_plain
        return PrefixReader(self._file) if can_skip else None

    def async_items(self) -> FetchedItems:
        """All items, read in a worker thread as long as the input is not downloaded."""
        return FetchedItems(self.items(), lambda: self._file.is_downloaded)

    def check_unchanged(self) -> None:
        """Raise `InputError` if the file was changed since this source was made."""
        self._file.check_unchanged()

    @property
    def schema(self) -> Any:
        """The pyarrow schema of Parquet and Arrow; None for other kinds."""
        return self._rows.schema if isinstance(self._rows, ColumnarRows) else None

    @property
    def binary_columns(self) -> frozenset[str]:
        """The columns of bytes in Parquet and Arrow, which rows hold as base64; inside a struct, ``a.b``."""
        return self._rows.binary_columns if isinstance(self._rows, ColumnarRows) else frozenset()

    def batches(self) -> Iterator[tuple[list[Item], Any]]:
        """The items of a file with a `schema` in batches, each with its pyarrow record batch."""
        assert isinstance(self._rows, ColumnarRows)
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

    def _row_items(self, prefix: TextPrefix | None) -> Iterator[Item]:
        begin, index, id_of = 0, -1, self._ids()
        rows: Iterable[tuple[int, Mapping[str, Any]]] = self._rows
        if prefix is not None:
            assert isinstance(self._rows, CsvRows | JsonlRows)
            begin, rows = prefix.index, self._rows.after(prefix)
        for index, (line, row) in enumerate(rows, begin):
            yield Item(index, line, id_of(line, row), row)
        if index < 0 and not begin:
            header = " below its header" if self.kind in ("csv", "excel") else ""
            raise InputError(f"{self.name}: has no rows{header}; add at least one")

    def _batch_items(self, prefix: TextPrefix | None) -> Iterator[Item]:
        assert isinstance(self._rows, JsonlRows)
        by_custom_id, id_of = self.id_column == "custom_id", self._ids()
        begin = 0 if prefix is None else prefix.index
        for index, (number, line) in enumerate(self._rows.lines(prefix), begin):
            request = parse_batch_line(line) if by_custom_id else None
            if request is not None and request.id:
                yield Item(index, number, request.id, EMPTY, request)
            else:  # an uncommon or wrong line: decode it fully, which finds the error
                row = decode_object(line, self.where, number)
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
        if isinstance(value, str) and value:  # the usual case, without a name for the place
            return value
        if self.id_column not in row:
            known = nearest(self.id_column, row)
            raise InputError(f"{self.where(line)}: no column {self.id_column!r} for the id; {known}")
        return as_id(value, repr(self.id_column), self.where(line))
