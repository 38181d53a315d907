"""What an answer says of rate limits: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``.

All of it is text from outside: what is no sensible number or time counts as not said.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from datetime import UTC, datetime

import attrs

LONGEST = 86_400.0
"""Seconds; what is said to last longer than a day is not believed."""

_NAMES = {
    f"x-ratelimit-{what}-{kind}".encode(): (kind, what)
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
}
_SHORTEST_NAME = min(map(len, _NAMES))
_COUNT = re.compile(rb" *[0-9]{1,15}(\.0+)? *")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_PIECE = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(d|h|ms|m|s|us|µs|Âµs|ns)"  # UTF-8 read as Latin-1: Âµ
_DURATION = re.compile(f"({_PIECE})+")
_PIECES = re.compile(_PIECE)
_UNITS = {
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "Âµs": 1e-6,
    "ns": 1e-9,
}
_FIRST_MOMENT = 1e9
"""A number from here on is no duration but seconds since 1970; from a thousand times that, milliseconds."""


@attrs.define
class Said:
    """What is said of one kind, requests or tokens; None for what is not said.

    ``limit`` and ``remaining`` are numbers of them, ``reset`` the seconds until ``remaining`` is ``limit``
    again if nothing is sent.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


def read_limits(raw: Iterable[tuple[bytes, bytes]], wall: float) -> dict[str, Said] | None:
    """What the headers of an answer say of ``requests`` and of ``tokens``; None for nothing, as most do.

    ``wall`` is the wall clock in seconds since 1970, from which moments are measured.
    """
    found: dict[str, Said] | None = None
    for name, value in raw:
        if len(name) < _SHORTEST_NAME:
            continue
        meant = _NAMES.get(name.lower())
        if meant is None:
            continue
        kind, what = meant
        number = seconds_until(value.decode("latin-1").strip(), wall) if what == "reset" else _count(value)
        if number is None or (what == "limit" and not number):
            continue
        if found is None:
            found = {}
        said = found.get(kind)
        if said is None:
            said = found[kind] = Said()
        setattr(said, what, number)
    return found


def _count(value: bytes) -> float | None:
    return float(value) if _COUNT.fullmatch(value) else None


def seconds_until(text: str, wall: float) -> float | None:
    """Seconds from now, up to a day, of a duration (``6m0s``, ``20ms``), a number of seconds, or a moment.

    A moment is ISO 8601, or a number of seconds or milliseconds since 1970.
    """
    seconds = duration(text)
    if seconds is None:
        moment = _moment(text)
        seconds = None if moment is None else moment - wall
    return seconds if seconds is not None and 0 <= seconds <= LONGEST else None


@functools.lru_cache(maxsize=4096)
def duration(text: str) -> float | None:
    """The seconds of a duration, None for what is none; many answers say the same one."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return seconds if seconds < _FIRST_MOMENT else None
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECES.findall(text))


def _moment(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number / 1000 if number >= 1000 * _FIRST_MOMENT else number
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
