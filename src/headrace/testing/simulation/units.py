"""Reads the values of a scenario: durations, rates, shares, counts.

A reader converts a value of TOML, or raises a ValueError that names the expected kind of value. `build` makes
an object of a class whose attributes are made with `key`.
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

_READER = "read"


def key(read: Callable[[Any], Any], *, default: Any = attrs.NOTHING) -> Any:
    """An attribute that a scenario file sets; ``read`` reads its value. Without a default it is required."""
    return attrs.field(default=default, metadata={_READER: read})


def build(kind: type[T], table: Any, where: str, **parts: Any) -> T:
    """Create an object from a TOML table, and from ``parts`` that are read already.

    Raises `SettingsError`; its message begins with ``where`` and names the key.
    """
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where}must be a table")
    fields: dict[str, attrs.Attribute[Any]] = {
        field.name.rstrip("_"): field
        for field in attrs.fields(kind)  # type: ignore[arg-type]
        if _READER in field.metadata
    }
    values = {}
    for name, raw in table.items():
        if name not in fields:
            raise SettingsError(f"{where}unknown key {name!r}; {nearest(name, fields)}")
        try:
            values[fields[name].name] = fields[name].metadata[_READER](raw)
        except ValueError as error:
            raise SettingsError(f"{where}{name}: {error}") from None
    for name, field in fields.items():
        if field.default is attrs.NOTHING and field.name not in values:
            raise SettingsError(f"{where}{name} is missing")
    try:
        return kind(**values, **parts)
    except ValueError as error:
        raise SettingsError(f"{where}{error}") from None


def _is_number(raw: Any) -> bool:
    return isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw)


def _number(raw: Any, parse: Callable[[str], float], wanted: str) -> float:
    if isinstance(raw, str):
        return parse(raw)
    if not _is_number(raw):
        raise ValueError(f"{raw!r} is not {wanted}")
    if raw < 0:
        raise ValueError(f"{raw!r} is below 0")
    return float(raw)


def seconds(raw: Any) -> float:
    """A time or a duration: a number of seconds, or a text like "10min"."""
    return _number(raw, parse_duration, "a duration such as 90 (seconds) or '10min'")


def positive_seconds(raw: Any) -> float:
    """A duration above 0."""
    value = seconds(raw)
    if value == 0:
        raise ValueError(f"{raw!r} must be above 0")
    return value


def rate(raw: Any) -> float:
    """A rate per second: a number, or a text like "600/min"."""
    return _number(raw, parse_rate, "a rate such as 20 (per second) or '600/min'")


def share(raw: Any) -> float:
    """From 0 to 1: a number, or a text like "5%"."""
    value = _number(raw, parse_share, "a share such as 0.05 or '5%'")
    if value > 1:
        raise ValueError(f"{raw!r}: must be a share from 0 to 1, or from 0% to 100%")
    return value


def factor(raw: Any) -> float:
    """A number above 0, by which something is multiplied."""
    if not _is_number(raw) or raw <= 0:
        raise ValueError(f"{raw!r} is not a number above 0")
    return float(raw)


def count(raw: Any) -> int:
    """A whole number of at least 1."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 1:
        raise ValueError(f"{raw!r} is not a whole number of at least 1")
    return raw


def count_or_zero(raw: Any) -> int:
    """A whole number of at least 0."""
    return 0 if raw == 0 and raw is not False else count(raw)


def integer(raw: Any) -> int:
    """Any whole number."""
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise ValueError(f"{raw!r} is not a whole number")
    return raw


def text(raw: Any) -> str:
    """A text."""
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is not a string")
    return raw


def one_of(*known: str) -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(raw: Any) -> str:
        if raw not in known:
            raise ValueError(f"{raw!r}: {nearest(str(raw), known)}")
        return str(raw)

    return read


def list_of(*known: str, or_none: bool = False) -> Callable[[Any], tuple[str, ...]]:
    """A reader of a list of these words, which may be empty if ``or_none``."""
    read_one = one_of(*known)

    def read(raw: Any) -> tuple[str, ...]:
        if not isinstance(raw, list) or not (raw or or_none):
            raise ValueError(f"{raw!r} is not a list of {', '.join(known)}")
        return tuple(read_one(each) for each in raw)

    return read


def durations(raw: Any) -> Distribution:
    """A distribution of durations."""
    return read_distribution(raw, seconds)


def sizes(raw: Any) -> Distribution:
    """A distribution of counts."""
    return read_distribution(raw, lambda value: float(count_or_zero(value)) if value == 0 else factor(value))
