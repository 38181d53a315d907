"""Column names and types of rows that may differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

ColumnType = Literal["bool", "int", "float", "decimal", "text", "vector"]

_INT64 = 1 << 63


class ColumnTypes:
    """Collects the columns of rows in the order in which they appear, and one type for each.

    A column of integers and floats is a float column. Any other mixture is text, and so are nested values
    (as JSON) and integers of more than 64 bits.
    """

    def __init__(self) -> None:
        self._types: dict[str, ColumnType | None] = {}

    def note(self, row: Mapping[str, Any]) -> None:
        """Add the columns of a row."""
        types = self._types
        for name, value in row.items():
            new, old = _type_of(value), types.get(name)
            if old is None:
                types[name] = new
            elif new is not None and new != old:
                types[name] = "float" if {new, old} == {"int", "float"} else "text"

    def types_of_members(self) -> dict[str, ColumnType]:
        """The columns with their types; those of the members of an object, ``a.b``, follow each other.

        If ``a`` is null in some rows and an object in others, there is no column ``a``.
        """
        groups: dict[str, dict[str, ColumnType]] = {}
        for name, found in self._types.items():
            groups.setdefault(name.partition(".")[0], {})[name] = found or "text"
        for head, group in groups.items():
            if len(group) > 1 and self._types.get(head, "text") is None:
                del group[head]
        return {name: found for group in groups.values() for name, found in group.items()}

    def types(self) -> dict[str, ColumnType]:
        """The columns with their types; a column of nulls is text."""
        return {name: found or "text" for name, found in self._types.items()}


def _type_of(value: Any) -> ColumnType | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return "int"
    return "float" if isinstance(value, float) else "text"
