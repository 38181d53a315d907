"""Parses and formats durations, shares, rates and amounts: `800ms`, `5%`, `600/min`, `$0.42`.

A number without a unit means seconds, a fraction between 0 and 1, or calls per second.
"""

import math
import re
from decimal import Decimal, InvalidOperation

from headrace._support.text import quoted

_SECONDS = {"": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*", re.ASCII)

_MOST_DIGITS = 30
"""Digits of an amount of money before and after its point: more are a mistake, and would fill messages."""


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `800ms`, `1.5s`, `2m`, `2min` or `1h`; without a unit, seconds.

    Raises:
        ValueError: The text is not a duration, or it is negative.
    """
    number, unit = _quantity(text, "a duration such as 800ms, 1.5s, 2m")
    if unit not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration: the units are us, ms, s, m (or min) and h")
    return number * _SECONDS[unit]


def parse_share(text: str) -> float:
    """The share in `5%` or `0.05`, from 0 to 1.

    Raises:
        ValueError: The text is not a share, or it is not between 0 and 1.
    """
    number, unit = _quantity(text, "a share such as 5% or 0.05")
    if unit not in ("", "%"):
        raise ValueError(f"{text!r} is not a share: write 5% or 0.05")
    share = number / 100 if unit else number
    if share > 1:
        raise ValueError(f"{text!r} is not a share: it must be between 0 and 1, or 0% and 100%")
    return share


def parse_rate(text: str) -> float:
    """Calls per second in a rate such as `100/s`, `600/min` or `3600/h`; without a unit, per second.

    Raises:
        ValueError: The text is not a rate, or it is not above zero.
    """
    number, unit = _quantity(text, "a rate such as 100/s or 600/min")
    per = unit.removeprefix("/").strip()
    if unit and (not unit.startswith("/") or per not in ("s", "m", "min", "h")):
        raise ValueError(f"{text!r} is not a rate: write it per /s, /min (or /m) or /h")
    if number == 0:
        raise ValueError(f"{text!r} is not a rate: it must be above zero")
    return number / _SECONDS[per]


def _quantity(text: str, expected: str) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not math.isfinite(number):
        raise ValueError(f"{text!r} is not {expected}")
    return number, found[2]


def format_duration(seconds: float) -> str:
    """Seconds for a person: 4.2 ms, 0.42 s, 12 s, 3:07, 2:05:30."""
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.{1 if seconds < 0.00995 else 0}f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_rate(per_second: float) -> str:
    """A rate for a person, per second, minute or hour: 1,200.0/s, 30.0/min, 3.6/h."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:,.1f}/{unit}"
    return f"{per_second * 3600:,.1f}/h"


def parse_usd(value: Decimal | float | str) -> Decimal:
    """An amount of US dollars, as a number or as text.

    Raises:
        ValueError: It is not an amount, or it has more than 30 digits before or after its point.
    """
    try:
        text = str(value)  # the float 0.1 means one tenth, not the nearest binary fraction
    except ValueError:  # more digits than Python writes
        text = "a number with thousands of digits"
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MOST_DIGITS or amount.adjusted() > _MOST_DIGITS:
        raise ValueError(f"{quoted(text)}: must be an amount in USD, like 5.00")
    return amount


def format_usd(usd: Decimal) -> str:
    """US dollars, with four decimals below one dollar and two above."""
    return f"${usd:,.4f}" if usd < 1 else f"${usd:,.2f}"


def format_count(number: int, noun: str) -> str:
    """A number of things: 1 item, 2 items."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
