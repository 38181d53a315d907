"""Formatting of durations and amounts."""

from decimal import Decimal

import pytest

from headrace._support.units import format_duration, format_rate, format_usd, parse_usd


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


@pytest.mark.parametrize("value", ["5.00", 5, 0.1, Decimal("2.5"), "-1", "1e30", "1e-30", "0"])
def test_amounts_are_read_exactly(value: Decimal | float | str) -> None:
    assert parse_usd(value) == Decimal(str(value))


@pytest.mark.parametrize(
    "value",
    [
        *("", "much", "nan", "sNaN", "inf", "-inf", "1e31", "1e-31", "0e400", "1e999999999", "1\x00"),
        *("9" * 5000, "." + "3" * 5000, 1e300, 5e-324),
        pytest.param(10**5000, id="10**5000"),
    ],
)
def test_an_amount_that_fills_messages_is_none(value: float | str) -> None:
    with pytest.raises(ValueError, match=r"must be an amount in USD, like 5\.00") as caught:
        parse_usd(value)
    assert len(str(caught.value)) < 130


def test_slow_rates_are_per_minute_or_hour() -> None:
    rates = (1234.56, 1, 0.5, 0.01, 0)
    assert [format_rate(each) for each in rates] == ["1,234.6/s", "1.0/s", "30.0/min", "36.0/h", "0.0/h"]
