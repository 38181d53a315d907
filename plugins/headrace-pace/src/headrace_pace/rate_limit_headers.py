"""Rate limits in response headers, for the providers that send any.

    header                                                  sent by
    ------------------------------------------------------  -------------------------------------------------
    ``x-ratelimit-{limit,remaining,reset}-KIND``            OpenAI, Azure, xAI; Groq, with requests per
                                                            day and tokens per minute
    ``x-ratelimit-…-project-tokens``                        OpenAI, for a project of an organisation
    ``x-ratelimit-…-KIND-{minute,hour,day}``                Cerebras; Mistral, with ``req`` for requests
    ``x-ratelimitbysize-{limit,remaining}-minute``          Mistral: tokens
    ``anthropic-ratelimit-KIND-{limit,remaining,reset}``    Anthropic, with times by RFC 3339

KIND is ``requests``, ``tokens``, ``input-tokens`` or ``output-tokens``. If the name does not contain the
period of a limit, the period is learnt (`headrace_pace.limit_tracker`): a daily limit is not taken as one per
minute. Monthly limits are not read: they are too long to pace calls by.

The values are untrusted text: a value that is not a sensible number or time, such as Azure's -1, is ignored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

MAX_SECONDS = 86_400.0
"""Longer times than a day are ignored."""

KINDS = ("requests", "tokens", "input_tokens", "output_tokens")
_FIELDS = ("limit", "remaining", "reset")
_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}


def _header_names() -> Iterator[tuple[str, tuple[str, str, float | None, str]]]:
    """Yield the name of each header, and the name, kind, period and field of the limit it reports."""
    for kind in KINDS:
        suffix = kind.replace("_", "-")
        for field in _FIELDS:
            yield f"x-ratelimit-{field}-{suffix}", (kind, kind, None, field)
            yield f"anthropic-ratelimit-{suffix}-{field}", (kind, kind, None, field)
            for period, seconds in _PERIODS.items():
                # Settings name limits per minute.
                name = kind if period == "minute" else f"{kind}/{period}"
                for alias in (suffix, "req") if kind == "requests" else (suffix,):
                    yield f"x-ratelimit-{field}-{alias}-{period}", (name, kind, seconds, field)
    for field in _FIELDS:
        yield f"x-ratelimit-{field}-project-tokens", ("project_tokens", "tokens", None, field)
        yield f"x-ratelimitbysize-{field}-minute", ("tokens", "tokens", 60.0, field)


_HEADERS = {name.encode(): meaning for name, meaning in _header_names()}
_MIN_NAME_LENGTH = min(map(len, _HEADERS))
_COUNT = re.compile(rb" *[0-9]{1,15}(\.0+)? *")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_DURATION_PART = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(d|h|ms|m|s|us|µs|Âµs|ns)"  # UTF-8 read as Latin-1: Âµ
_DURATION = re.compile(f"({_DURATION_PART})+")
_DURATION_PARTS = re.compile(_DURATION_PART)
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
_FIRST_TIMESTAMP = 1e9
"""A number from here on is a time in seconds since 1970; from a thousand times that, in milliseconds."""


@attrs.define
class RateLimitInfo:
    """What a response reports of one limit; None for what it does not report.

    Attributes:
        limit: Requests or tokens per period.
        remaining: Requests or tokens left.
        reset: Seconds until ``remaining`` is ``limit`` again if nothing is sent.
        kind: One of `KINDS`.
        period: Seconds that the limit is for.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    kind: str = "requests"
    period: float | None = None


def read_limits(raw: Sequence[tuple[bytes, bytes]], wall: float) -> dict[str, RateLimitInfo] | None:
    """Return what response headers report of each limit, by its name; None if they report nothing.

    Times are measured from the response's own ``Date``, or else from ``wall``, the wall clock in seconds
    since 1970.
    """
    found: dict[str, RateLimitInfo] | None = None
    for name, value in raw:
        if len(name) < _MIN_NAME_LENGTH:
            continue
        meaning = _HEADERS.get(name.lower())
        if meaning is None:
            continue
        limit, kind, period, field = meaning
        if field != "reset":
            number = _parse_count(value)
        else:
            text = value.decode("latin-1").strip()
            number = _within_a_day(parse_duration(text))
            if number is None and (timestamp := _parse_timestamp(text)) is not None:
                number = _within_a_day(timestamp - _response_time(raw, wall))
        if number is None or (field == "limit" and not number):
            continue
        if found is None:
            found = {}
        info = found.get(limit)
        if info is None:
            info = found[limit] = RateLimitInfo(kind=kind, period=period)
        setattr(info, field, number)
    return found


def _response_time(raw: Sequence[tuple[bytes, bytes]], wall: float) -> float:
    """Return the ``Date`` of a response in seconds since 1970, or else ``wall``."""
    for name, value in raw:
        if name.lower() == b"date":
            try:
                return parsedate_to_datetime(value.decode("latin-1")).timestamp()
            except (ValueError, TypeError, OverflowError):
                break
    return wall


def _parse_count(value: bytes) -> float | None:
    """Return a number of requests or tokens."""
    return float(value) if _COUNT.fullmatch(value) else None


def _within_a_day(seconds: float | None) -> float | None:
    """Return a time from now if it is sensible, else None."""
    return seconds if seconds is not None and 0 <= seconds <= MAX_SECONDS else None


@functools.lru_cache(maxsize=4096)
def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration (``6m0s``, ``20ms``) or number of seconds; None for anything else.

    Cached, because many responses report the same duration.
    """
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return seconds if seconds < _FIRST_TIMESTAMP else None
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PARTS.findall(text))


def _parse_timestamp(text: str) -> float | None:
    """Parse a time (ISO 8601, or seconds or milliseconds since 1970); return it in seconds since 1970."""
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number / 1000 if number >= 1000 * _FIRST_TIMESTAMP else number
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
