"""Values that come from a column: ``@column`` in parameters, tags and the priority.

A cell of a CSV file is a text, so its value depends on what it is for: the text ``0.3`` is a number for a
temperature, and a text for a user. An empty cell sets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.nested_keys import check_key, value_at
from headrace.bulk.template import as_text
from headrace.errors import InputError

_LONGEST_VALUE = 80


def column_of(value: Any) -> str | None:
    """The column that ``@column`` names; None for a constant."""
    if not isinstance(value, str) or not value.startswith("@") or value.startswith("@@"):
        return None
    return value[1:] or None


def constant(value: Any) -> Any:
    """A constant, in which ``@@`` at the beginning stands for ``@``."""
    return value[1:] if isinstance(value, str) and value.startswith("@@") else value


@attrs.frozen
class ColumnValue:
    """A value that each row has in a column.

    Args:
        column: The column, or a key with dots as in a template.
        purpose: What the value is for, for messages.
        types: The JSON types that it can have: "string", "number", "integer", "boolean", "array", "object".
    """

    column: str
    purpose: str
    types: frozenset[str]

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks the column; the message begins with ``where``."""
        check_key(row, self.column, self.purpose, where)

    def read(self, row: Mapping[str, Any]) -> Any:
        """The value of one row, None for an empty cell; raises `InputError` if it has another type."""
        column = self.column
        value = row[column] if column in row else value_at(row, column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        parsed = _parsed(value)
        found = _json_type(parsed)
        if found in self.types and (found != "string" or isinstance(value, str)):
            return value if found == "string" else parsed
        if found == "integer" and "number" in self.types:
            return parsed
        if found == "number" and "integer" in self.types and float(parsed).is_integer():
            return int(parsed)  # a column of integers with nulls is often one of floats
        if "string" in self.types and (isinstance(value, str) or found in {"integer", "number"}):
            return as_text(value)
        raise InputError(
            f"column {self.column!r}: {_excerpt(value)} cannot be {self.purpose}, "
            f"which must be {with_article(self.types)}"
        )


def _parsed(value: Any) -> Any:
    """The JSON value of a text, or the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (*NOT_JSON, UnicodeError):
        return value


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "null" if value is None else "array"


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def with_article(types: frozenset[str]) -> str:
    """The names of JSON types for a message, as in "a number"."""
    return " or ".join(f"{'an' if each[0] in 'aio' else 'a'} {each}" for each in sorted(types))
