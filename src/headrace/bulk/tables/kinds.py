"""Columns of rows that may differ: their names, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["bool", "int", "float", "decimal", "text"]

_INT64 = 1 << 63


class Kinds:
    """Collects the names that rows have, in the order in which they come, each with one kind for all values.

    Whole numbers among others are taken as such; whatever else differs, is nested or is a whole number of
    more than 64 bits is text (as JSON, where it is none).
    """

    def __init__(self) -> None:
        self._found: dict[str, Kind | None] = {}

    def note(self, row: Mapping[str, Any]) -> None:
        """Take note of a row."""
        found = self._found
        for name, value in row.items():
            kind, old = _kind(value), found.get(name)
            if old is None:
                found[name] = kind
            elif kind is not None and kind != old:
                found[name] = "float" if {kind, old} == {"int", "float"} else "text"

    def kinds(self) -> dict[str, Kind]:
        """The names with their kinds."""
        return {name: kind or "text" for name, kind in self._found.items()}


def _kind(value: Any) -> Kind | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return "int"
    return "float" if isinstance(value, float) else "text"
