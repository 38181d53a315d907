"""Values of Arrow columns as JSON can represent them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec


def json_values(column: Any) -> list[Any]:
    """The values of a pyarrow column, converted to what JSON can represent."""
    import pyarrow

    of = pyarrow.types
    kind = _microseconds(column.type)
    if kind != column.type:  # Python's times have no nanoseconds
        column = column.cast(kind, safe=False)
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    unchanged = (of.is_string, of.is_large_string, of.is_integer, of.is_boolean)
    return values if any(is_a(column.type) for is_a in unchanged) else [_plain(value) for value in values]


def binary_columns(fields: Any) -> Iterator[str]:
    """The names of the fields of bytes, or of lists of bytes; inside a struct with a dot, like ``a.b``."""
    import pyarrow

    of = pyarrow.types
    are_bytes = (of.is_binary, of.is_large_binary, of.is_binary_view, of.is_fixed_size_binary)
    have_values = (
        of.is_list,
        of.is_large_list,
        of.is_fixed_size_list,
        of.is_list_view,
        of.is_large_list_view,
    )
    for field in fields:
        kind = field.type
        while any(is_a(kind) for is_a in (*have_values, of.is_dictionary)):
            kind = kind.value_type
        if any(is_a(kind) for is_a in are_bytes):
            yield field.name
        elif of.is_struct(kind):
            yield from (f"{field.name}.{name}" for name in binary_columns(kind))


def _microseconds(kind: Any) -> Any:
    """This type with microseconds instead of nanoseconds, nested types included."""
    import pyarrow

    of = pyarrow.types
    if of.is_timestamp(kind) and kind.unit == "ns":
        return pyarrow.timestamp("us", kind.tz)
    if of.is_time64(kind):
        return pyarrow.time64("us")
    if of.is_duration(kind) and kind.unit == "ns":
        return pyarrow.duration("us")
    if of.is_struct(kind):
        return pyarrow.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if of.is_map(kind):
        return pyarrow.map_(_microseconds(kind.key_type), _microseconds(kind.item_type))
    if of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(_microseconds(kind.value_type)))
    return kind


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return msgspec.to_builtins(value)
