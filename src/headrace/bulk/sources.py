"""Where a bulk run's items come from: CSV, JSONL or OpenAI's batch format, from a file or stdin."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Literal

import attrs
import msgspec

from headrace.bulk.distinct import Distinct
from headrace.encoded import request_of_batch_line
from headrace.endpoints import EMPTY
from headrace.errors import InputError, nearest
from headrace.model import Request

Kind = Literal["csv", "jsonl", "batch"]

# The module's default of 128 KiB is below what a text to be summarised may have.
csv.field_size_limit(64 * 1024 * 1024)


@attrs.define(eq=False)
class Item:
    """One item: its place from 0, its line in the input from 1, its id, and its row.

    In the batch format there is a ``request`` in place of the row, but for lines that are unusual.
    """

    index: int
    line: int
    id: str
    row: Mapping[str, Any] = attrs.field(repr=False)
    request: Request | None = attrs.field(default=None, repr=False)


class Source:
    """A file of items that can be read several times.

    ``path`` "-" is stdin, kept in a temporary file. The kind is recognised from the content: a first line
    that begins with ``{`` is JSONL, and OpenAI's batch format if it has ``url`` and ``body``; anything
    else is CSV with a header, separated by comma, semicolon or tab. Text is UTF-8.

    An item's id is the value of ``id_column``; where that is None, of a column ``custom_id`` or ``id``;
    where there is none, ``row-1``, ``row-2``, ….

    ``limit``: only so many items, from the first on (default: all).

    Raises `InputError` for a file that cannot be read, is empty, or has no such column.
    """

    def __init__(
        self, path: str | os.PathLike[str], id_column: str | None = None, limit: int | None = None
    ) -> None:
        self._limit = limit
        self.name = "<stdin>" if str(path) == "-" else str(path)
        self._path = Path(path)
        self._spooled = _spool_stdin() if str(path) == "-" else None
        with self._open() as file:
            first = _first_line(file, self.name)
        self._delimiter = max(",;\t", key=first.count)
        self._header: list[str] = []
        self.kind: Kind = "csv"
        if first.lstrip().startswith("{"):
            columns = list(_decode_object(first, f"{self.name}:1"))
            self.kind = "batch" if {"url", "body"} <= set(columns) else "jsonl"
        else:
            columns = self._header = self._read_header()
        if id_column is None:
            id_column = next((name for name in ("custom_id", "id") if name in columns), None)
        elif id_column not in columns:
            raise InputError(f"{self.name}:1: no column {id_column!r}; {nearest(id_column, columns)}")
        self._id_column = id_column

    def _open(self) -> IO[bytes]:
        if self._spooled is not None:
            self._spooled.seek(0)
            # A handle of its own, so that closing it leaves the spooled file open for the next pass.
            return os.fdopen(os.dup(self._spooled.fileno()), "rb")
        try:
            return self._path.open("rb")
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from error

    def digest(self) -> str:
        """SHA-256 of the content, in hex."""
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def items(self) -> Iterator[Item]:
        """All items in order; raises `InputError` with file and line for a bad one."""
        items = self._batch_items() if self.kind == "batch" else self._row_items()
        return items if self._limit is None else itertools.islice(items, self._limit)

    def _row_items(self) -> Iterator[Item]:
        with self._open() as file:
            rows = self._csv_rows(file) if self.kind == "csv" else self._json_rows(file)
            for index, (line, row) in enumerate(rows):
                yield Item(index, line, self._id(index, line, row), row)

    def _batch_items(self) -> Iterator[Item]:
        by_custom_id = self._id_column == "custom_id"
        with self._open() as file:
            for index, (number, line) in enumerate(_json_lines(file)):
                request = request_of_batch_line(line) if by_custom_id else None
                if request is not None and request.id:
                    yield Item(index, number, request.id, EMPTY, request)
                else:  # what is wrong with it, or unusual, shows when it is read like any other
                    row = _decode_object(line, f"{self.name}:{number}")
                    yield Item(index, number, self._id(index, number, row), row)

    def _id(self, index: int, line: int, row: Mapping[str, Any]) -> str:
        if self._id_column is None:
            return f"row-{index + 1}"
        value = row.get(self._id_column)
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str) or not value:
            if self._id_column not in row:
                known = nearest(self._id_column, row)
                raise InputError(f"{self.name}:{line}: no column {self._id_column!r} for the id; {known}")
            raise InputError(f"{self.name}:{line}: {self._id_column!r} must be a text that is not empty")
        return value

    def duplicate(self, ids: Distinct) -> str | None:
        """Where an id is found twice, as a message; None if ``ids``, filled from `items`, are distinct."""
        suspects = ids.repeated()
        if not suspects:
            return None
        lines: dict[str, int] = {}
        for item in self.items():
            if hash(item.id) in suspects:
                if item.id in lines:
                    return (
                        f"{self.name}:{item.line}: duplicate {self._id_column} {item.id!r}, "
                        f"first in line {lines[item.id]}; name a column of distinct ids with --id-column"
                    )
                lines[item.id] = item.line
        return None

    def _read_header(self) -> list[str]:
        with self._open() as file, closing(self._csv_values(file)) as rows:
            header = next(row for _, row in rows if row)
        if len(set(header)) != len(header):
            raise InputError(f"{self.name}:1: a column's name stands twice in the header")
        return header

    def _csv_rows(self, file: IO[bytes]) -> Iterator[tuple[int, dict[str, str]]]:
        rows = ((line, values) for line, values in self._csv_values(file) if values)
        next(rows)
        for line, values in rows:
            if len(values) != len(self._header):
                raise InputError(
                    f"{self.name}:{line}: {len(values)} values, but the header has {len(self._header)}"
                )
            yield line, dict(zip(self._header, values, strict=True))

    def _csv_values(self, file: IO[bytes]) -> Generator[tuple[int, list[str]], None, None]:
        """Rows as lists, each with the line that it begins in; a value may hold line breaks."""
        begun = 1
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                for values in reader:
                    yield begun, values
                    begun = reader.line_num + 1
            except csv.Error as error:
                raise InputError(f"{self.name}:{begun}: {error}") from None
            except UnicodeDecodeError as error:
                # Decoded in blocks: the line is at or below the one last read.
                raise InputError(f"{self.name}:{begun} or below: not UTF-8 ({error.reason})") from None

    def _json_rows(self, file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in _json_lines(file):
            yield number, _decode_object(line, f"{self.name}:{number}")


def _json_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, with their numbers from 1."""
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.isspace():
            yield number, line


def _spool_stdin() -> IO[bytes]:
    if sys.stdin.isatty():
        raise InputError("<stdin>: nothing is piped in; name a file, or pipe one")
    spooled = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the source
    shutil.copyfileobj(sys.stdin.buffer, spooled)
    spooled.flush()
    return spooled


def _first_line(file: IO[bytes], name: str) -> str:
    for line in file:
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}:1: not UTF-8 ({error.reason})") from None
        if text.strip():
            return text
    raise InputError(f"{name}: empty")


def _decode_object(line: bytes | str, where: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object is wanted, not {type(row).__name__}")
    return row
