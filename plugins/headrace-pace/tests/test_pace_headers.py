"""What answers say of limits is text from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_pace.headers import LONGEST, Said, read_limits, seconds_until

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1m30.951s", 90.951),
        ("2h3m4s", 7384.0),
        ("1h", 3600.0),
        ("850µs", 0.00085),
        ("850µs".encode().decode("latin-1"), 0.00085),
        ("0s", 0.0),
        ("12", 12.0),
        ("0.25", 0.25),
        ("1700000060", 60.0),
        ("1700000060.5", 60.5),
        ("1700000060000", 60.0),
        ("2023-11-14T22:14:20Z", 60.0),
        ("2023-11-14T23:14:20+01:00", 60.0),
        ("2023-11-14T22:14:20", 60.0),
    ],
)
def test_durations_numbers_and_moments(text: str, seconds: float) -> None:
    assert seconds_until(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "s",
            "-1s",
            "1.s",
            "1e3",
            "inf",
            "nan",
            "1_000",
            "١s",
            "1 s",
            "soon",
            "1s 2s",
            "1x",
            "0x10s",
        ),
        *("2d", "9" * 400, "9" * 30 + "s"),
        *("1600000000", "2020-01-01T00:00:00Z", "2023-13-45", "9999-12-31T23:59:59Z"),
    ],
)
def test_rubbish_counts_as_not_said(text: str) -> None:
    assert seconds_until(text, NOW) is None


@given(st.text() | st.from_regex(r"([0-9.]*(d|h|m|s|ms)?){1,4}", fullmatch=True))
def test_any_text_is_a_sensible_time_or_none(text: str) -> None:
    seconds = seconds_until(text, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_what_is_written_as_a_duration_is_read_as_it(h: int, m: int, s: int, ms: int) -> None:
    assert seconds_until(f"{h}h{m}m{s}.{ms:03}s", NOW) == pytest.approx(h * 3600 + m * 60 + s + ms / 1000)


def test_all_six_headers_in_any_case() -> None:
    raw = [
        (b"X-RateLimit-Limit-Requests", b"500"),
        (b"x-ratelimit-remaining-requests", b" 499 "),
        (b"x-ratelimit-reset-requests", b"120ms"),
        (b"x-ratelimit-limit-tokens", b"30000.0"),
        (b"x-ratelimit-remaining-tokens", b"29000"),
        (b"x-ratelimit-reset-tokens", b"2s"),
        (b"x-ratelimit-limit-something-else", b"1"),
        (b"content-type", b"application/json"),
    ]
    assert read_limits(raw, NOW) == {
        "requests": Said(500.0, 499.0, 0.12),
        "tokens": Said(30000.0, 29000.0, 2.0),
    }


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"0", b"1e9", b"many", b"9" * 400, b"0.5", b"\xff", "٣".encode()]
)
def test_a_limit_that_makes_no_sense_is_none(value: bytes) -> None:
    assert read_limits([(b"x-ratelimit-limit-requests", value)], NOW) is None


@given(st.lists(st.tuples(st.sampled_from([*map(str.encode, ["x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"])]) | st.binary(), st.binary())))  # fmt: skip
def test_any_headers(raw: list[tuple[bytes, bytes]]) -> None:
    for said in (read_limits(raw, NOW) or {}).values():
        assert said.limit is None or said.limit > 0
        assert said.remaining is None or said.remaining >= 0
        assert said.reset is None or 0 <= said.reset <= LONGEST
