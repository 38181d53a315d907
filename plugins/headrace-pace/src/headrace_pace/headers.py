"""What an answer says of rate limits, by the headers of the providers that send any.

    header                                                  sent by
    ------------------------------------------------------  -------------------------------------------------
    ``x-ratelimit-{limit,remaining,reset}-KIND``            OpenAI, Azure, xAI; Groq, whose
                                                            requests are a day's and whose tokens a minute's
    ``x-ratelimit-…-project-tokens``                        OpenAI, of a project within an organisation
    ``x-ratelimit-…-KIND-{minute,hour,day}``                Cerebras; Mistral, with ``req`` for requests
    ``x-ratelimitbysize-{limit,remaining}-minute``          Mistral: tokens
    ``anthropic-ratelimit-KIND-{limit,remaining,reset}``    Anthropic, with moments by RFC 3339

KIND is ``requests``, ``tokens``, ``input-tokens`` or ``output-tokens``. Where the name does not say the time
that a limit is for, it is learnt (`headrace_pace.allowance`): a day's limit is not taken for a minute's. What
is said of a month is not read; no pace is slow enough for it.

All of it is text from outside: what is not a sensible number or time counts as not said. Azure's -1 is one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

LONGEST = 86_400.0
"""Seconds; what is said to last longer than a day is not believed."""

KINDS = ("requests", "tokens", "input_tokens", "output_tokens")
_WHAT = ("limit", "remaining", "reset")
_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}


def _names() -> Iterator[tuple[str, tuple[str, str, float | None, str]]]:
    """Each header's name, and what it says of which limit: its name, kind and period."""
    for kind in KINDS:
        written = kind.replace("_", "-")
        for what in _WHAT:
            yield f"x-ratelimit-{what}-{written}", (kind, kind, None, what)
            yield f"anthropic-ratelimit-{written}-{what}", (kind, kind, None, what)
            for period, seconds in _PERIODS.items():
                # A limit by the minute is the one that settings can name.
                name = kind if period == "minute" else f"{kind}/{period}"
                for also in (written, "req") if kind == "requests" else (written,):
                    yield f"x-ratelimit-{what}-{also}-{period}", (name, kind, seconds, what)
    for what in _WHAT:
        yield f"x-ratelimit-{what}-project-tokens", ("project_tokens", "tokens", None, what)
        yield f"x-ratelimitbysize-{what}-minute", ("tokens", "tokens", 60.0, what)


_NAMES = {name.encode(): meant for name, meant in _names()}
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
    """What is said of one limit; None for what is not said.

    ``limit`` and ``remaining`` are numbers of its ``kind``, one of `KINDS`; ``reset`` the seconds until
    ``remaining`` is ``limit`` again if nothing is sent; ``period`` the seconds that the limit is for.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    kind: str = "requests"
    period: float | None = None


def read_limits(raw: Sequence[tuple[bytes, bytes]], wall: float) -> dict[str, Said] | None:
    """What the headers of an answer say of each limit, by its name; None for nothing, as most do.

    Moments are measured from the answer's own ``Date``, or else from ``wall``, the wall clock in seconds
    since 1970.
    """
    found: dict[str, Said] | None = None
    for name, value in raw:
        if len(name) < _SHORTEST_NAME:
            continue
        meant = _NAMES.get(name.lower())
        if meant is None:
            continue
        limit, kind, period, what = meant
        if what != "reset":
            number = _count(value)
        else:
            text = value.decode("latin-1").strip()
            number = _up_to_a_day(duration(text))
            if number is None and (moment := _moment(text)) is not None:
                number = _up_to_a_day(moment - _date(raw, wall))
        if number is None or (what == "limit" and not number):
            continue
        if found is None:
            found = {}
        said = found.get(limit)
        if said is None:
            said = found[limit] = Said(kind=kind, period=period)
        setattr(said, what, number)
    return found


def _date(raw: Sequence[tuple[bytes, bytes]], wall: float) -> float:
    for name, value in raw:
        if name.lower() == b"date":
            try:
                return parsedate_to_datetime(value.decode("latin-1")).timestamp()
            except (ValueError, TypeError, OverflowError):
                break
    return wall


def _count(value: bytes) -> float | None:
    return float(value) if _COUNT.fullmatch(value) else None


def _up_to_a_day(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= LONGEST else None


@functools.lru_cache(maxsize=4096)
def duration(text: str) -> float | None:
    """The seconds of a duration (``6m0s``, ``20ms``) or number of seconds; None for anything else.

    Many answers say the same one.
    """
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return seconds if seconds < _FIRST_MOMENT else None
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECES.findall(text))


def _moment(text: str) -> float | None:
    """Seconds since 1970 of a moment: ISO 8601, or a number of seconds or milliseconds since then."""
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number / 1000 if number >= 1000 * _FIRST_MOMENT else number
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
