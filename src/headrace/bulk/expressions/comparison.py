"""How values are compared. No pair of values is an error, because the values come from rows and models.

A cell of a CSV file is a text, so a text is compared with a number by the number that it spells, and with
true or false by that word. Other values of different types are unequal, and neither is less than the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import InputError

_NUMBER = re.compile(r"\s*([+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?)\s*")
_LONGEST_NUMBER = 400
"""Characters of a text that may be a number. Python refuses integers of more than 4,300 digits."""

_WITH_ARTICLE = {"number": "a number", "text": "text", "list": "a list", "object": "an object"}

_FLAGS = {"true": True, "false": False}


def is_equal(left: Any, right: Any) -> bool:
    """Whether two values are equal."""
    left, right = _alike(left, right)
    return _kind(left) == _kind(right) and bool(left == right)


def is_less(left: Any, right: Any) -> bool:
    """Whether a number or a text is less than another one; texts by their characters."""
    left, right = _alike(left, right)
    return _kind(left) == _kind(right) and _kind(left) in ("number", "text") and bool(left < right)


def is_in(value: Any, container: Any) -> bool:
    """Whether a list has an equal value, or a text contains a text."""
    if isinstance(container, list | tuple):
        return any(is_equal(value, each) for each in container)
    return isinstance(container, str) and isinstance(value, str) and value in container


COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": is_equal,
    "!=": lambda left, right: not is_equal(left, right),
    "<": is_less,
    "<=": lambda left, right: is_less(left, right) or (_has_order(left, right) and is_equal(left, right)),
    ">": lambda left, right: is_less(right, left),
    ">=": lambda left, right: is_less(right, left) or (_has_order(left, right) and is_equal(left, right)),
    "in": is_in,
    "not in": lambda left, right: not is_in(left, right),
}


def as_condition(value: Any, name: str) -> bool:
    """A value where true or false is expected; null is false, and so is the text ``false``.

    Raises:
        InputError: It is something else, which the user probably forgot to compare.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    flag = _flag(value)
    if flag is None:
        kind = _WITH_ARTICLE[_kind(value)]
        raise InputError(f"{name} is {kind} here, not true or false; compare it, like {name} == …")
    return flag


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Two values; a text beside a number or a flag is read as one if it spells one."""
    if isinstance(left, str) and not isinstance(right, str):
        return _read_as(left, right), right
    if isinstance(right, str) and not isinstance(left, str):
        return left, _read_as(right, left)
    return left, right


def _read_as(text: str, other: Any) -> Any:
    if isinstance(other, bool):
        flag = _flag(text)
        return text if flag is None else flag
    if isinstance(other, int | float) and len(text) <= _LONGEST_NUMBER:
        found = _NUMBER.fullmatch(text)
        if found is not None:
            return float(found[1]) if found[2] or found[3] else int(found[1])
    return text


def _flag(value: Any) -> bool | None:
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def _has_order(left: Any, right: Any) -> bool:
    left, right = _alike(left, right)
    return _kind(left) == _kind(right) and _kind(left) in ("number", "text")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list | tuple) else "object"
