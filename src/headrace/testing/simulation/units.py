"""Reads the values of a scenario: durations, rates, shares, counts.

A reader takes a value of TOML and returns a converted one, or raises a ValueError that says what is expected.
`build` makes an object of a class whose attributes are made with `key`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from headrace._support.text import nearest
from headrace._support.units import parse_duration, parse_rate, parse_share
from headrace.errors import SettingsError
from headrace.testing.simulation.distributions import Distribution, read_distribution

T = TypeVar("T")

_READ = "read"


def key(read: Callable[[Any], Any], *, default: Any = attrs.NOTHING) -> Any:
    """An attribute that a scenario sets and ``read`` reads; without a default it is required."""
    return attrs.field(default=default, metadata={_READ: read})


def build(kind: type[T], table: Any, where: str, **parts: Any) -> T:
    """An object of what a table says, and of ``parts`` that are read already.

    Raises `SettingsError`, which begins with ``where`` and names the key.
    """
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where}must be a table")
    fields: dict[str, attrs.Attribute[Any]] = {
        field.name.rstrip("_"): field
        for field in attrs.fields(kind)  # type: ignore[arg-type]
        if _READ in field.metadata
    }
    values = {}
    for name, given in table.items():
        if name not in fields:
            raise SettingsError(f"{where}unknown key {name!r}; {nearest(name, fields)}")
        try:
            values[fields[name].name] = fields[name].metadata[_READ](given)
        except ValueError as error:
            raise SettingsError(f"{where}{name}: {error}") from None
    for name, field in fields.items():
        if field.default is attrs.NOTHING and field.name not in values:
            raise SettingsError(f"{where}{name} is missing")
    try:
        return kind(**values, **parts)
    except ValueError as error:
        raise SettingsError(f"{where}{error}") from None


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)


def _number(given: Any, parse: Callable[[str], float], wanted: str) -> float:
    if isinstance(given, str):
        return parse(given)
    if not _is_number(given):
        raise ValueError(f"{given!r} is not {wanted}")
    if given < 0:
        raise ValueError(f"{given!r} is below 0")
    return float(given)


def seconds(given: Any) -> float:
    """A time or a duration: a number of seconds, or a text like "10min"."""
    return _number(given, parse_duration, "a duration such as 90 (seconds) or '10min'")


def some_seconds(given: Any) -> float:
    """A duration above 0."""
    value = seconds(given)
    if value == 0:
        raise ValueError(f"{given!r} must be above 0")
    return value


def rate(given: Any) -> float:
    """A rate per second: a number, or a text like "600/min"."""
    return _number(given, parse_rate, "a rate such as 20 (per second) or '600/min'")


def share(given: Any) -> float:
    """From 0 to 1: a number, or a text like "5%"."""
    value = _number(given, parse_share, "a share such as 0.05 or '5%'")
    if value > 1:
        raise ValueError(f"{given!r} is more than the whole: a share lies between 0 and 1, or 0% and 100%")
    return value


def factor(given: Any) -> float:
    """A number above 0, by which something is multiplied."""
    if not _is_number(given) or given <= 0:
        raise ValueError(f"{given!r} is not a number above 0")
    return float(given)


def count(given: Any) -> int:
    """A whole number of at least 1."""
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError(f"{given!r} is not a whole number of at least 1")
    return given


def places(given: Any) -> int:
    """A whole number of at least 0."""
    return 0 if given == 0 and given is not False else count(given)


def whole(given: Any) -> int:
    """Any whole number."""
    if not isinstance(given, int) or isinstance(given, bool):
        raise ValueError(f"{given!r} is not a whole number")
    return given


def text(given: Any) -> str:
    """A text."""
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is not a string")
    return given


def one_of(*known: str) -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(given: Any) -> str:
        if given not in known:
            raise ValueError(f"{given!r}: {nearest(str(given), known)}")
        return str(given)

    return read


def some_of(*known: str, or_none: bool = False) -> Callable[[Any], tuple[str, ...]]:
    """A reader of a list of these words, one at least unless none will do."""
    read_one = one_of(*known)

    def read(given: Any) -> tuple[str, ...]:
        if not isinstance(given, list) or not (given or or_none):
            raise ValueError(f"{given!r} is not a list of {', '.join(known)}")
        return tuple(read_one(each) for each in given)

    return read


def durations(given: Any) -> Distribution:
    """A distribution of durations."""
    return read_distribution(given, seconds)


def sizes(given: Any) -> Distribution:
    """A distribution of counts."""
    return read_distribution(given, lambda value: float(places(value)) if value == 0 else factor(value))
