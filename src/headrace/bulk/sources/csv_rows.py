"""Rows of a CSV file with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, TextIO

from headrace._support.text import quoted
from headrace.bulk.sources.csv_delimiter import BLANK, csv_form
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.header import checked_columns
from headrace.bulk.sources.text_prefix import TextPrefix
from headrace.errors import InputError

# The default of 128 KiB is too small for long texts.
csv.field_size_limit(64 * 1024 * 1024)

_SAMPLE_SIZE = 64 * 1024
"""Characters by which the delimiter is found."""


class CsvRows:
    """Rows under a header, in quotes where needed. The delimiter is found by `csv_form`."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        lines, complete = self._first_lines()
        form = csv_form(lines, file.name, complete=complete)
        self._delimiter, self._lines_above = form.delimiter, form.lines_above
        with closing(self._values()) as rows:
            begun, names = next(rows, (1, []))
        if not names:
            raise InputError(f"{file.name}: has no header; put the names of the columns on the first line")
        self.columns: list[str] = checked_columns(names, f"{file.name}:{begun}")
        self._width = len(names)

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        rows = self._values()
        next(rows)
        return self._mappings(rows)

    def after(self, prefix: TextPrefix) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The rows after a beginning of the file."""
        return self._mappings(self._values(prefix))

    def _mappings(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        columns = len(self.columns)
        for line, values in rows:
            if len(values) != self._width:
                raise InputError(
                    f"{self._file.name}:{line}: {len(values)} values, but the header has {self._width}"
                )
            if columns < self._width and (nameless := [value for value in values[columns:] if value]):
                raise InputError(
                    f"{self._file.name}:{line}: the value {quoted(nameless[0])} is in a column "
                    "without a name; give each column a name"
                )
            yield line, dict(zip(self.columns, values))  # noqa: B905 - a keyword takes half as long again

    def _first_lines(self) -> tuple[list[str], bool]:
        """The first lines, of which one is not blank, and whether these are all lines."""
        lines: list[str] = []
        left, is_blank = _SAMPLE_SIZE, True
        with self._text() as text:
            try:
                for line in self._lines(text):
                    lines.append(line)
                    left -= len(line)
                    is_blank = is_blank and not line.strip(BLANK)
                    if left < 0 and not is_blank:
                        return lines, False
            except UnicodeDecodeError:
                raise self._file.not_utf8() from None
        return lines, True

    def _text(self, begin: int = 0) -> TextIO:
        encoding = "utf-8" if begin else "utf-8-sig"
        return io.TextIOWrapper(self._file.open_text(begin), encoding=encoding, newline="")

    def _lines(self, text: TextIO, first: int = 1) -> Iterator[str]:
        for number, line in enumerate(self._file.lines(text), first):
            if "\0" in line:
                raise InputError(f"{self._file.name}:{number}: contains a NUL character; remove it")
            yield line

    def _values(self, prefix: TextPrefix | None = None) -> Generator[tuple[int, list[str]], None, None]:
        """Rows as lists, each with its first line; a value may hold line breaks."""
        above = self._lines_above if prefix is None else prefix.line - 1
        begun = above + 1
        with self._text(0 if prefix is None else prefix.size) as text:
            lines = self._lines(text, 1 if prefix is None else begun)
            try:
                for _ in range(above if prefix is None else 0):
                    next(lines)
                reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
                for values in reader:
                    if values:  # not a blank line
                        yield begun, values
                    begun = above + reader.line_num + 1
            except csv.Error as error:
                raise InputError(f"{self._file.name}:{begun}: {error}; {_advice(error)}") from None
            except UnicodeDecodeError:
                raise self._file.not_utf8() from None


def _advice(error: csv.Error) -> str:
    """What to do about an error of the reader."""
    if "end of data" in str(error):
        return "close the quote that begins a value there"
    if "field limit" in str(error):
        return "a quote may not be closed"
    return "in a value in quotes, write each quote twice"
