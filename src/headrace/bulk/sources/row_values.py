"""Rows of Python code as mappings, with values that JSON can hold."""

from __future__ import annotations

import datetime
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import msgspec

from headrace._support.lenient_json import without_surrogates
from headrace._support.numbers import as_number
from headrace._support.text import quoted, shortened
from headrace.errors import InputError

_FAILURES = (TypeError, ValueError, NotImplementedError, RecursionError)

_MISSING = {"NAType", "NaTType"}
"""The types of missing values in pandas, which is not imported here."""


def as_mapping(row: Any, where: str) -> Mapping[str, Any]:
    """The row as a mapping of values that JSON can hold, and of bytes.

    A lone surrogate becomes U+FFFD; NaN, infinity and missing values of pandas become None.

    Args:
        row: A mapping, or an object with fields: a named tuple, a row of a database, or an object of a
            dataclass, attrs or pydantic.
        where: The name of the row, for messages.

    Raises:
        InputError: It is no such object, or has a value that JSON cannot hold.
    """
    try:
        fields = _fields(row)
        found = _to_builtins(fields)
    except _FAILURES as error:
        raise InputError(f"{where}: {_wrong_column(row) or _reason(error)}") from error
    if not isinstance(found, Mapping):
        raise InputError(
            f"{where}: must be a mapping or an object with fields, not {type(row).__name__}; "
            "make it one, like {'text': …}"
        )
    if _is_clean(found):
        return found
    clean: Mapping[str, Any] = json_value(found)
    return clean


def _fields(row: Any) -> Any:
    """Named tuples and rows of databases as a dict; other rows unchanged."""
    if isinstance(row, Mapping):
        return row
    if callable(as_dict := getattr(row, "_asdict", None)):  # named tuples, SQLAlchemy
        return as_dict()
    if hasattr(row, "keys") and hasattr(row, "__getitem__"):  # sqlite3, asyncpg, a row of pandas
        return {name: row[name] for name in row.keys()}  # noqa: SIM118 (iterating yields the values)
    return row


def _to_builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """A value that msgspec does not know, as one that it knows."""
    if type(value).__name__ in _MISSING:
        return None
    for base, convert in _SUBCLASSES:
        if isinstance(value, base):
            return convert(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if callable(getattr(value, "model_dump", None)):
        return _of_model(value)
    if callable(getattr(value, "tolist", None)):  # NumPy, pandas
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set)):
        return list(value)
    number = as_number(value)
    if number is None:
        raise TypeError(
            f"a value of type {type(value).__name__} cannot be written as JSON; "
            "make it a text or a number, or leave it out"
        )
    return number


_SUBCLASSES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (int, int.__int__),
    (float, float.__float__),
    (Decimal, Decimal),
    (uuid.UUID, str),
    # The time of a datetime with its zone; pandas and pendulum subclass all of these.
    (datetime.datetime, lambda value: datetime.datetime.combine(value.date(), value.timetz())),
    (datetime.date, lambda value: datetime.date(value.year, value.month, value.day)),
    (datetime.time, lambda value: datetime.time.fromisoformat(value.isoformat())),
    (
        datetime.timedelta,
        lambda value: datetime.timedelta(value.days, value.seconds, value.microseconds),
    ),
)
"""Base types, which msgspec knows, and how an object of a subclass, which it does not know, becomes one."""


def _of_model(model: Any) -> Any:
    """A pydantic model as plain values; bytes stay bytes where pydantic cannot write them as JSON."""
    try:
        return model.model_dump(mode="json")
    except ValueError:
        return model.model_dump()


def _is_clean(row: Mapping[str, Any]) -> bool:
    """Whether there is certainly nothing to replace; much faster than to replace nothing."""
    for name, value in row.items():
        kind = type(value)
        if kind is str:
            if not value.isascii():
                return False
        elif kind is not int and kind is not bool and value is not None:
            return False
        if not name.isascii():
            return False
    return True


def json_value(value: Any) -> Any:
    """A value with U+FFFD for lone surrogates, and None for NaN and infinity."""
    if isinstance(value, str):
        return value if value.isascii() else without_surrogates(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {json_value(name): json_value(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(each) for each in value]
    return value


def _wrong_column(row: Any) -> str | None:
    """The first column whose value cannot be converted, and why; None if the row has no such column."""
    columns = row if isinstance(row, Mapping) else getattr(row, "__dict__", {})
    for name, value in columns.items():
        try:
            _to_builtins(value)
        except _FAILURES as error:
            return f"column {quoted(name)}: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    return shortened(str(error)) or type(error).__name__
