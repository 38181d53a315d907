"""Parsing of ``Retry-After`` headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Headers, StatusError
from headrace._support.retry_after import retry_after_seconds

NOW = 1696004797.0  # Fri, 29 Sep 2023 16:26:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20", 20.0),
        (" 20 ", 20.0),
        ("1.5", 1.5),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251706296002.0),
        ("0", None),
        ("-10", None),
        ("inf", None),
        ("nan", None),
        pytest.param("9" * 400, None, id="400 digits"),
        ("1e3", None),
        ("1_000", None),
        ("٢٠", None),
        ("soon", None),
        ("", None),
        ("Fri, 29 Sep 2023 16:26:37 GMT", None),
        ("Fri, 29 Sep 2023 16:26:17 GMT", None),
        ("Thu, 29 Sep 2023 16:26:57 GMT", None),
        ("Fri, 29 Sep 100000 16:26:57 GMT", None),
        ("Fri, 32 Sep 2023 16:26:57 GMT", None),
        ("29 Sep 2023 16:26:57 GMT", None),
    ],
)
def test_valid_values_are_seconds_and_others_none(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}, NOW) == seconds


def test_milliseconds_take_precedence() -> None:
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "20"}, NOW) == 1.5


@pytest.mark.parametrize("rubbish", ["0", "-1", "nan", "soon"])
def test_invalid_milliseconds_are_ignored(rubbish: str) -> None:
    assert retry_after_seconds({"retry-after-ms": rubbish, "retry-after": "20"}, NOW) == 20.0


def test_a_date_is_compared_with_the_date_of_the_response() -> None:
    headers = {"retry-after": "Fri, 29 Sep 2023 16:26:57 GMT", "date": "Fri, 29 Sep 2023 16:26:37 GMT"}
    for jumped in (0.0, NOW + 1e6):
        assert retry_after_seconds(headers, jumped) == 20.0


def test_an_invalid_date_header_is_ignored() -> None:
    headers = {"retry-after": "Fri, 29 Sep 2023 16:26:57 GMT", "date": "yesterday"}
    assert retry_after_seconds(headers, NOW) == 20.0


def test_without_headers_there_is_no_value() -> None:
    assert retry_after_seconds({}, NOW) is None


@given(st.text(), st.text())
def test_any_text_gives_a_future_moment_or_none(value: str, milliseconds: str) -> None:
    seconds = retry_after_seconds({"retry-after": value, "retry-after-ms": milliseconds}, NOW)
    assert seconds is None or 0 < seconds < float("inf")


def test_a_status_error_has_retry_after() -> None:
    headers = Headers([(b"Retry-After", b"7")])
    assert StatusError("busy", 429, headers).retry_after == 7.0
    assert StatusError("busy", 429, Headers([])).retry_after is None
    assert StatusError("made by hand").retry_after is None
