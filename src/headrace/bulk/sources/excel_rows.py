"""Rows of the first sheet of an Excel workbook (.xlsx), read as a stream with openpyxl."""

from __future__ import annotations

import datetime
import itertools
import re
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from headrace._support.text import printable
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.header import checked_columns
from headrace.errors import InputError

_NO_TIME = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
"""Parts of a number format that are not parts of a date: texts, colours, languages."""

_LONGEST_REASON = 300


class ExcelRows:
    """Rows under a header, with their numbers in the sheet; rows without any value are left out.

    Numbers and booleans keep their type, and dates and times become ISO 8601 strings. An empty cell is null.
    For a formula, the value is the one that Excel stored.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        try:
            import openpyxl  # noqa: F401
        except ImportError:
            raise InputError(f"{file.name}: is Excel; pip install 'headrace[excel]' to read it") from None
        with closing(self._rows()) as rows:
            number, names = next(rows, (1, []))
        if not names:
            raise InputError(f"{file.name}: the first sheet is empty; headrace reads only the first sheet")
        self.columns: list[str] = checked_columns(
            ["" if name is None else str(name) for name in names], f"{file.name}, row {number}"
        )

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        rows = self._rows()
        next(rows)
        for number, values in rows:
            if len(values) > len(self.columns):
                raise InputError(
                    f"{self._file.name}, row {number}: {len(values)} values, "
                    f"but the header has {len(self.columns)}"
                )
            values += [None] * (len(self.columns) - len(values))
            yield number, dict(zip(self.columns, values, strict=True))

    def _rows(self) -> Generator[tuple[int, list[Any]], None, None]:
        """Rows with a value as lists without empty cells at the end, each with its number in the sheet."""
        from openpyxl import load_workbook

        with self._file.raw() as content:
            workbook = None
            try:
                with _no_warnings():
                    workbook = load_workbook(content, read_only=True, data_only=True, keep_links=False)
                sheet = workbook.worksheets[0]
                # Some programs write wrong dimensions, and the rows outside would be left out.
                sheet.reset_dimensions()
                rows = sheet.iter_rows()
                for number in itertools.count(1):
                    with _no_warnings():
                        cells = next(rows, None)
                    if cells is None:
                        return
                    values = [_value(cell) for cell in cells]
                    while values and values[-1] is None:
                        values.pop()
                    if values:
                        yield number, values
            except InputError:
                raise
            except Exception as error:
                reason = printable(" ".join(f"{type(error).__name__}: {error}".split()))[:_LONGEST_REASON]
                raise InputError(
                    f"{self._file.name}: Excel that is damaged or not supported: {reason}"
                ) from error
            finally:
                if workbook is not None:
                    workbook.close()


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence openpyxl, which warns of styles that are not read and of dates that are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _value(cell: Any) -> Any:
    """The value of a cell as JSON can represent it."""
    value = cell.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime.datetime) and not _shows_time(cell.number_format):
        value = value.date()
    return msgspec.to_builtins(value)


def _shows_time(number_format: str) -> bool:
    """Whether a format shows hours, minutes or seconds; Excel has no type for dates without a time."""
    return any(letter in _NO_TIME.sub("", number_format).lower() for letter in "hs")
