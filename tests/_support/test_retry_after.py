"""Delays asked for by the server, as text from outside says them."""

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
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}, NOW) == seconds


def test_milliseconds_come_first() -> None:
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "20"}, NOW) == 1.5


@pytest.mark.parametrize("rubbish", ["0", "-1", "nan", "soon"])
def test_rubbish_milliseconds_leave_the_word_to_seconds(rubbish: str) -> None:
    assert retry_after_seconds({"retry-after-ms": rubbish, "retry-after": "20"}, NOW) == 20.0


def test_a_date_is_measured_from_the_answers_own_date() -> None:
    headers = {"retry-after": "Fri, 29 Sep 2023 16:26:57 GMT", "date": "Fri, 29 Sep 2023 16:26:37 GMT"}
    for jumped in (0.0, NOW + 1e6):
        assert retry_after_seconds(headers, jumped) == 20.0


def test_a_date_of_rubbish_is_not_measured_from() -> None:
    headers = {"retry-after": "Fri, 29 Sep 2023 16:26:57 GMT", "date": "yesterday"}
    assert retry_after_seconds(headers, NOW) == 20.0


def test_nothing_asked() -> None:
    assert retry_after_seconds({}, NOW) is None


@given(st.text(), st.text())
def test_any_text_gives_a_moment_to_come_or_none(value: str, milliseconds: str) -> None:
    asked = retry_after_seconds({"retry-after": value, "retry-after-ms": milliseconds}, NOW)
    assert asked is None or 0 < asked < float("inf")


def test_a_status_error_says_how_long_it_asks_to_stay_away() -> None:
    headers = Headers([(b"Retry-After", b"7")])
    assert StatusError("busy", 429, headers).retry_after == 7.0
    assert StatusError("busy", 429, Headers([])).retry_after is None
    assert StatusError("made by hand").retry_after is None
