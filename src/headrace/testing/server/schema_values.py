"""Strings and numbers that fit a JSON schema."""

import base64
import math
import re
import string
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from headrace.testing.server.pattern_strings import matching_string

_NAMED_FORMAT = re.compile(r"Format: ([\w-]+)\.$")
"""In a strict schema, the end of the description names a format that strict mode does not support."""

_DAY = datetime(2024, 5, 17, 9, 30, tzinfo=UTC)


def _uuid(variant: int) -> str:
    return str(uuid.UUID(int=0x3F2B8C1E_5D4A_4F6B_8A7C_000000000000 + variant))


_FORMATS: Mapping[str, Callable[[int], str]] = {
    "date": lambda variant: f"{_DAY + timedelta(variant):%Y-%m-%d}",
    "date-time": lambda variant: f"{_DAY + timedelta(variant):%Y-%m-%dT%H:%M:%SZ}",
    "time": lambda variant: f"{_DAY + timedelta(minutes=variant):%H:%M:%SZ}",
    "duration": lambda variant: f"PT{variant + 1}H30M",
    "uuid": _uuid,
    "uuid4": _uuid,
    "email": lambda variant: f"anna{variant or ''}@example.com",
    "idn-email": lambda variant: f"anna{variant or ''}@example.com",
    "name-email": lambda variant: f"Anna Schmidt <anna{variant or ''}@example.com>",
    "hostname": lambda variant: f"host{variant}.example.com",
    "uri": lambda variant: f"https://example.com/{variant}",
    "url": lambda variant: f"https://example.com/{variant}",
    "iri": lambda variant: f"https://example.com/{variant}",
    "uri-reference": lambda variant: f"/{variant}",
    "ipv4": lambda variant: f"192.0.2.{variant % 256}",
    "ipv6": lambda variant: f"2001:db8::{variant % 65536 + 1:x}",
    "ipvanyaddress": lambda variant: f"192.0.2.{variant % 256}",
    "ipv4interface": lambda variant: f"192.0.2.{variant % 256}/24",
    "ipv6interface": lambda variant: f"2001:db8::{variant % 65536 + 1:x}/64",
    "ipvanyinterface": lambda variant: f"192.0.2.{variant % 256}/24",
    "ipv4network": lambda variant: f"192.0.{variant % 256}.0/24",
    "ipv6network": lambda variant: f"2001:db8:{variant % 65536:x}::/64",
    "ipvanynetwork": lambda variant: f"192.0.{variant % 256}.0/24",
    "decimal": lambda variant: f"{variant}.5",
    "regex": lambda variant: f"^a{{{variant + 1}}}$",
    "json-pointer": lambda variant: f"/{variant}",
    "json": str,
    "byte": lambda variant: _base64(f"text {variant}"),
    "base64": lambda variant: _base64(f"text {variant}"),
    "base64url": lambda variant: _base64(f"text {variant}"),
}


_MOST_STEPS = 50


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def string_answer(schema: Mapping[str, Any], text: str, variant: int) -> str:
    """A string with the format, pattern and length of a schema.

    Args:
        schema: A schema of a string.
        text: The value if the schema asks for no other.
        variant: Another number gives another string.
    """
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    pattern, kind = schema.get("pattern"), schema.get("format")
    named = _NAMED_FORMAT.search(schema.get("description", ""))
    if kind is None and named is not None:
        kind = named[1]
    if isinstance(pattern, str):
        found = matching_string(pattern, least, most, variant)
        if found is not None:
            return found
    if isinstance(kind, str) and kind in _FORMATS:
        return _FORMATS[kind](variant)
    if schema.get("contentEncoding") == "base64":
        return _base64(f"text {variant}")
    if schema.get("contentMediaType") == "application/json":
        return f"{variant}"
    return _sized(text, least, most, variant)


def _sized(text: str, least: int, most: int | None, variant: int) -> str:
    """A text of this length, which begins with the variant's number or letter."""
    if variant:
        letters = string.ascii_letters + string.digits
        short = most is not None and most < len(f"{variant} ")
        text = letters[variant % len(letters)] if short else f"{variant + 1} {text}"
    # Some types remove spaces at the ends, and would then be too short.
    return text[:most].strip().ljust(least, "x")


def number_answer(schema: Mapping[str, Any], *, integer: bool, variant: int) -> int | float:
    """A number between the limits of a schema, 0 if that is allowed.

    Args:
        schema: A schema of a number.
        integer: Whether it must be an integer.
        variant: Another number gives another one if the schema allows several.
    """
    multiple = _fraction(schema.get("multipleOf"))
    low, low_open = _limit(schema, "minimum", "exclusiveMinimum", max)
    high, high_open = _limit(schema, "maximum", "exclusiveMaximum", min)
    step = multiple or Fraction(1)
    if integer:
        step = Fraction(step.numerator)
    first = None if low is None else _above(low, step, open=low_open)
    last = None if high is None else -_above(-high, step, open=high_open)
    if first is not None and last is not None and first > last:
        if integer or multiple or low is None or high is None:
            return 0  # no number fits
        return float(low + (high - low) * (variant + 1) / (variant + 2)) if low < high else float(low)
    start = Fraction(0)
    if first is not None and first > 0:
        start = first
    elif last is not None and last < 0:
        start = last
    for more in range(_MOST_STEPS):
        value = _plain(_nth(start, first, last, step, variant + more))
        # Readers divide floats: by them, 0.15 is no multiple of 0.05.
        if not multiple or (value / float(multiple)).is_integer():
            break
    return value


def _nth(start: Fraction, first: Fraction | None, last: Fraction | None, step: Fraction, n: int) -> Fraction:
    """The n-th multiple after the start; after the last it goes on at the first, or down."""
    if last is None:
        return start + n * step
    if first is None:
        above = int((last - start) / step)
        return start + n * step if n <= above else start - (n - above) * step
    count = int((last - first) / step) + 1
    return first + (int((start - first) / step) + n) % count * step


def _limit(
    schema: Mapping[str, Any], closed: str, open: str, stricter: Callable[..., Fraction]
) -> tuple[Fraction | None, bool]:
    """The limit of a schema, and whether it is excluded."""
    including, excluding = _fraction(schema.get(closed)), _fraction(schema.get(open))
    if including is None or excluding is None:
        return (including if excluding is None else excluding), excluding is not None
    limit = stricter(including, excluding)
    return limit, limit == excluding


def _above(limit: Fraction, step: Fraction, *, open: bool) -> Fraction:
    """The first multiple of a step that is not below a limit."""
    found = math.ceil(limit / step) * step
    return found + step if open and found == limit else found


def _fraction(value: Any) -> Fraction | None:
    """A number of a schema, exactly as it is written; None for none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Fraction(str(value))


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
