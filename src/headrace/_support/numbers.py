"""Converts numbers of other libraries (NumPy, Decimal, fractions), and checks durations."""

from __future__ import annotations

import operator
from decimal import Decimal
from typing import Any


def as_number(value: Any) -> int | float | Decimal | None:
    """A value as a number of Python's own; None if it is not one number (a bool, a string, an array)."""
    if isinstance(value, Decimal):
        return Decimal(value)
    kind = type(value)
    if (
        isinstance(value, (bool, str, bytes))
        or getattr(value, "ndim", None)
        or kind.__name__ in {"bool", "bool_"}
    ):
        return None
    try:
        if hasattr(kind, "__index__"):
            return operator.index(value)
        if hasattr(kind, "__float__"):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def as_seconds(value: Any) -> Any:
    """A number as a float or int of Python's own; any other value unchanged."""
    if value is None or type(value) is float or type(value) is int:
        return value
    number = as_number(value)
    try:
        return value if number is None else float(number)
    except (ValueError, OverflowError):  # a signaling NaN, a number above every float
        return value


def is_duration(value: object) -> bool:
    """Whether a value is a number of seconds above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
