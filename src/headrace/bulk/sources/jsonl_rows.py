"""JSON objects, one per line."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_leniently
from headrace.bulk.sources.encodings import undecodable
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.row_values import json_value
from headrace.bulk.sources.text_prefix import TextPrefix
from headrace.errors import InputError

_JSON_TYPES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def decode_object(text: bytes, where: Callable[[int], str], number: int) -> dict[str, Any]:
    """The JSON object in a text; raises `InputError`, whose message begins with ``where(number)``.

    NaN and lone surrogates, which some programs write, are read as in an answer: as null and U+FFFD.
    """
    try:
        row = msgspec.json.decode(text)
    except NOT_JSON as error:
        row = _nearly_json(text, where(number), error)
    if not isinstance(row, dict):
        raise InputError(f"{where(number)}: must be a JSON object, not {_JSON_TYPES[type(row)]}")
    return row


def _nearly_json(text: bytes, where: str, error: Exception) -> Any:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        raise undecodable(where, "utf-8", wrong) from None
    try:
        return json_value(decode_leniently(text))
    except NOT_JSON:
        raise InputError(f"{where}: not JSON: {error}") from None


class JsonlRows:
    """JSON objects, one per line; ``columns`` are the members of the first."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        number, first = next(self.lines())
        try:
            self.columns: list[str] = list(decode_object(first, self._where, number))
        except InputError as error:
            if first.rstrip() in (b"{", b"[") or "truncated" in str(error):
                raise InputError(
                    f"{self._where(number)}: not a whole JSON object; write each object on one line (JSONL), "
                    "or all objects as one array"
                ) from None
            raise

    def _where(self, number: int) -> str:
        return f"{self._file.name}:{number}"

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        return self.after(None)

    def after(self, prefix: TextPrefix | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The rows after a beginning of the file; all if it is None."""
        for number, line in self.lines(prefix):
            yield number, decode_object(line, self._where, number)

    def lines(self, prefix: TextPrefix | None = None) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers from 1; those after a beginning of the file."""
        begin, first = (0, 1) if prefix is None else (prefix.size, prefix.line)
        with self._file.open_text(begin) as content:
            for number, line in enumerate(self._file.lines(content), first):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if not line.isspace():
                    yield number, line
