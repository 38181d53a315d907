"""Rows of text files: CSV with a header, and JSON objects, one per line."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.sources.files import InputFile
from headrace.errors import InputError

# The default of 128 KiB is too small for long texts.
csv.field_size_limit(64 * 1024 * 1024)


def first_line(file: InputFile) -> str:
    """The first line that is not blank; raises `InputError` if there is none."""
    with file.open() as content:
        for line in file.lines(content):
            try:
                text = line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise InputError(f"{file.name}:1: not UTF-8 ({error.reason})") from None
            if text.strip():
                return text
    raise InputError(f"{file.name}: the file is empty")


_JSON_TYPES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def decode_object(line: bytes | str, where: str) -> dict[str, Any]:
    """The JSON object in a line; raises `InputError`, whose message begins with ``where``."""
    try:
        row = msgspec.json.decode(line)
    except NOT_JSON as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: must be a JSON object, not {_JSON_TYPES[type(row)]}")
    return row


class JsonRows:
    """JSON objects, one per line; ``columns`` are the members of the first."""

    def __init__(self, file: InputFile, first: str) -> None:
        self._file = file
        self.columns: list[str] = list(decode_object(first, f"{file.name}:1"))

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in self.lines():
            yield number, decode_object(line, f"{self._file.name}:{number}")

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers from 1."""
        with self._file.open() as content:
            for number, line in enumerate(self._file.lines(content), 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if not line.isspace():
                    yield number, line


class CsvRows:
    """Rows under a header. The separator is comma, semicolon or tab: the most frequent in the header."""

    def __init__(self, file: InputFile, first: str) -> None:
        self._file = file
        self._delimiter = max(",;\t", key=first.count)
        with closing(self._values()) as rows:
            self.columns: list[str] = next(row for _, row in rows if row)
        if len(set(self.columns)) != len(self.columns):
            raise InputError(f"{file.name}:1: two columns of the header have the same name")

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        rows = ((line, values) for line, values in self._values() if values)
        next(rows)
        for line, values in rows:
            if len(values) != len(self.columns):
                raise InputError(
                    f"{self._file.name}:{line}: {len(values)} values, but the header has {len(self.columns)}"
                )
            yield line, dict(zip(self.columns, values, strict=True))

    def _values(self) -> Generator[tuple[int, list[str]], None, None]:
        """Rows as lists, each with its first line; a value may hold line breaks."""
        begun = 1
        with io.TextIOWrapper(self._file.open(), encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(self._file.lines(text), delimiter=self._delimiter, strict=True)
            try:
                for values in reader:
                    yield begun, values
                    begun = reader.line_num + 1
            except csv.Error as error:
                raise InputError(f"{self._file.name}:{begun}: {error}") from None
            except UnicodeDecodeError as error:
                # Text is decoded in blocks, so the bad line may be further down.
                raise InputError(f"{self._file.name}:{begun} or below: not UTF-8 ({error.reason})") from None
