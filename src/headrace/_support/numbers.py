"""Numbers of other libraries (NumPy, Decimal, fractions), told by what they can do."""

from __future__ import annotations

import operator
from decimal import Decimal
from typing import Any


def as_number(value: Any) -> int | float | Decimal | None:
    """The number that a value is; None for anything else: a bool, a string, an array of several."""
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
