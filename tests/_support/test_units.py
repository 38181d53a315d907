"""Parsing of durations, shares and rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._support.units import parse_duration, parse_rate, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("800ms", 0.8),
        ("1.5s", 1.5),
        ("2m", 120),
        ("2 min", 120),
        ("1h", 3600),
        ("0", 0),
        (" 3 ", 3),
        ("50us", 5e-5),
    ],
)
def test_durations_are_parsed_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1), ("0", 0), ("0.5 %", 0.005)]
)
def test_shares_are_parsed_as_fractions(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "per_second"), [("100/s", 100), ("600/min", 10), ("60/m", 1), ("3600 / h", 1), ("2.5", 2.5)]
)
def test_rates_are_parsed_as_calls_per_second(text: str, per_second: float) -> None:
    assert parse_rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["", "fast", "-1s", "1 week", "1.2.3s", "nan", "inf", "1e999", "s", "5%"])
def test_an_invalid_duration_raises_and_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "half", "-5%", "101%", "1.01", "5s", "5%%"])
def test_an_invalid_share_raises(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "quick", "0/s", "0", "-1/s", "5/week", "5/", "5s", "5%"])
def test_an_invalid_rate_raises(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(text)


@given(st.floats(min_value=0, max_value=1e12))
def test_a_number_without_a_unit_is_seconds(seconds: float) -> None:
    assert parse_duration(repr(seconds)) == seconds
