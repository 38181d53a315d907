"""Positions and labels of the ticks of an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

LABEL_WIDTH = {"wide": 0.08, "narrow": 0.2}
"""The share of the width that the label of a tick needs, by kind of page."""

_STEPS = (1, 2, 5)
_FEW_SECONDS = 4
_DAY = 86_400
_TIME_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
    *(hours * 3600 for hours in (1, 2, 3, 6, 12, 24, 48, 120, 240)),
)

_BAR_WIDTHS = (
    *(10, 20, 50, 100, 200, 500),
    *(seconds * 1000 for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)),
    *(hours * 3_600_000 for hours in (1, 2, 3, 6, 12, 24, 48, 168, 336, 840, 4200)),
)
"""Widths of bars in ms."""

_MOST_BARS = 120


def bar_width(length: int, multiple_of: int = 1) -> int:
    """The width of the bars of a chart over time: the smallest round one with at most 120 bars.

    Args:
        length: The time that the chart shows, in ms.
        multiple_of: The width of the buckets that were counted, in ms; bars consist of whole buckets.

    Returns:
        The width, in ms.
    """
    least = length / _MOST_BARS
    round_widths = (width for width in _BAR_WIDTHS if width >= least and width % multiple_of == 0)
    return next(round_widths, max(1, math.ceil(least / multiple_of)) * multiple_of)


def count_ticks(most: float, about: int = 4) -> list[int]:
    """Round numbers from 0; only the last may be above ``most``."""
    step = next(step for step in _round_numbers(1) if step * about >= most)
    return [int(step * n) for n in range(math.ceil(most / step) + 1)]


def value_ticks(most: float, about: int = 4) -> list[float]:
    """Round amounts from 0, also below 1; only the last may be above ``most``."""
    step = next(step for step in _round_numbers(most / 10) if step * about >= most)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def time_ticks(seconds: float, closest: float) -> list[float]:
    """Round times from 0 to ``seconds``, at least the share ``closest`` of it apart."""
    step = next((step for step in _TIME_STEPS if step >= seconds * closest), None)
    if step is None:
        step = next(days * _DAY for days in _round_numbers(10) if days * _DAY >= seconds * closest)
    return [step * n for n in range(math.floor(seconds / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, closest: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, at least the share ``closest`` of a logarithmic axis apart."""
    least = (high / low) ** closest
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high / low > 4:
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [digit * 10.0**decade for decade in decades for digit in digits]
            if _apart(ticks, least):
                return [tick for tick in ticks if low <= tick <= high]
        every = next(every for every in range(2, 100) if 10**every >= least)
        return [10.0**decade for decade in decades if decade % every == 0 and low <= 10.0**decade <= high]
    for step in _round_numbers(low / 1000):
        first = math.ceil(low / step - 1e-9)
        ticks = [step * n for n in range(first, math.floor(high / step + 1e-9) + 1)]
        if _apart(ticks, least):
            return ticks
    raise AssertionError("an endless generator ended")


def _apart(ticks: Sequence[float], least: float) -> bool:
    return all(later / earlier >= least for earlier, later in pairwise(ticks))


def _round_numbers(first: float) -> Iterator[float]:
    """1, 2, 5, 10, 20, … times a power of ten, starting near ``first``."""
    decade = math.floor(math.log10(first))
    while True:
        yield from (step * 10.0**decade for step in _STEPS)
        decade += 1


def latency_scale(highest: float) -> tuple[int, str]:
    """The unit of an axis of latencies up to ``highest`` seconds: units per second, and the name."""
    return (1, "seconds") if highest >= _FEW_SECONDS else (1000, "milliseconds")


def usd_label(amount: float, step: float) -> str:
    """US dollars on an axis with a tick every ``step`` dollars: $0, $0.005, $1.50, $2,000."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"${amount:,.{max(decimals, 2) if decimals else 0}f}" if amount else "$0"


def latency_label(seconds: float, low: float, high: float) -> str:
    """A latency on an axis from ``low`` to ``high``: 5 ms, 0.2 s, 10 s."""
    small = seconds < 0.0995 and (low < 0.01 or high < 0.1)
    return f"{seconds * 1000:.3g} ms" if small else f"{seconds:.5g} s"


def width_label(milliseconds: int) -> str:
    """The width of a bucket: 5 ms, 0.5 s, 10 min, 2 h, 7 days."""
    for unit, size in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= size and (unit != "days" or milliseconds > size):
            return f"{milliseconds // size:,} {unit}"
    return f"{milliseconds / 1000:g} s" if milliseconds >= 100 else f"{milliseconds} ms"


def time_unit(ticks: Sequence[float]) -> str:
    """The unit for times at these ticks, or at some of them."""
    if ticks[-1] < 120:
        return "s"
    if ticks[-1] < 3600:
        return "min:s"
    return "days" if ticks[1] % _DAY == 0 else "h:min"


def time_label(seconds: float, unit: str) -> str:
    """A time in a unit that `time_unit` returns."""
    if unit == "s":
        return f"{seconds:.5g}"
    if unit == "days":
        return f"{seconds / _DAY:,.0f}"
    major, minor = divmod(round(seconds if unit == "min:s" else seconds / 60), 60)
    return f"{major}:{minor:02}"
