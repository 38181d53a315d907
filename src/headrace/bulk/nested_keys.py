"""Values of a row by keys with dots: ``a.b`` is the column with that name, or else ``row["a"]["b"]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace._support.text import nearest, quoted
from headrace.errors import InputError

_TYPES = {list: "is a list, and indexes are not supported", str: "is text", bool: "is a boolean"}


def value_at(row: Mapping[str, Any], key: str) -> Any:
    """The value at a key; the key of an object that is null is null.

    Raises:
        KeyError: There is no such value; `explain_missing` says why.
    """
    if key in row:
        return row[key]
    for head, rest in _splits(key):
        inner = row.get(head, row)
        if inner is None:
            return None
        if inner is not row and isinstance(inner, Mapping):
            try:
                return value_at(inner, rest)
            except KeyError:
                continue
    raise KeyError(key)


def find_value(row: Mapping[str, Any], key: str) -> Any:
    """The value at a key; None if there is none."""
    try:
        return value_at(row, key)
    except KeyError:
        return None


def check_key(row: Mapping[str, Any], key: str, purpose: str, where: str) -> None:
    """Raise `InputError` if the row has no value at a key.

    Args:
        row: The row.
        key: The key.
        purpose: What the value is for, as in "the prompt".
        where: The file and line of the row; the message begins with it.
    """
    if key in row:  # the usual case, in a fifth of the time
        return
    try:
        value_at(row, key)
    except KeyError:
        why = explain_missing(row, key)
        raise InputError(f"{where}: no column {quoted(key)} for {purpose}; {why}") from None


def explain_missing(row: Mapping[str, Any], key: str) -> str:
    """Why `value_at` finds nothing: the end of a message, which names what is there."""
    path = ""
    while True:
        head, rest = next(((head, rest) for head, rest in _splits(key) if head in row), (key, ""))
        if not rest:
            break
        path = f"{path}.{head}" if path else head
        inner, key = row[head], rest
        if not isinstance(inner, Mapping):
            what = _TYPES.get(type(inner), "is a number")
            return f"{quoted(path)} {what}" + ("" if isinstance(inner, list) else " and has no keys")
        row = inner
    column, bracket, _ = key.partition("[")
    if bracket and column in row:
        return f"{quoted(f'{path}.{column}' if path else column)} is there, but indexes are not supported"
    found = nearest(key, row) if row else "it is empty"
    return f"{quoted(path)} has no {quoted(key.partition('.')[0])}; {found}" if path else found


def _splits(key: str) -> list[tuple[str, str]]:
    """The ways to split a key at a dot, the longest first part first."""
    parts = key.split(".")
    return [(".".join(parts[:n]), ".".join(parts[n:])) for n in range(len(parts) - 1, 0, -1)]
