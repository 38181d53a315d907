"""Formatting of durations and amounts."""

from decimal import Decimal

import pytest

from headrace._support.units import format_duration, format_rate, format_usd


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0, "0.00 s"), (0.0042, "4.2 ms"), (0.00996, "10 ms"), (0.047, "47 ms"), (0.0999, "100 ms")),
        *((0.1, "0.10 s"), (0.42, "0.42 s"), (12.4, "12 s"), (187, "3:07"), (7530, "2:05:30")),
    ],
)
def test_durations_are_formatted_for_people(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_small_amounts_have_four_decimals() -> None:
    assert [format_usd(Decimal(usd)) for usd in ("0.00004", "0.5", "1234.567")] == [
        "$0.0000",
        "$0.5000",
        "$1,234.57",
    ]


def test_slow_rates_are_per_minute_or_hour() -> None:
    rates = (1234.56, 1, 0.5, 0.01, 0)
    assert [format_rate(each) for each in rates] == ["1,234.6/s", "1.0/s", "30.0/min", "36.0/h", "0.0/h"]
