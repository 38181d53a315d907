"""Rate-limit headers of each provider, and untrusted values."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_pace.limit_tracker import LimitTracker
from headrace_pace.rate_limit_headers import MAX_SECONDS, RateLimitInfo, read_limits

NOW = 1_700_000_000.0


def seconds_until(text: str) -> float | None:
    """Return the seconds until a reset that a header reports as ``text``."""
    reported = read_limits([(b"x-ratelimit-reset-tokens", text.encode("latin-1", "ignore"))], NOW)
    return None if reported is None else reported["tokens"].reset


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
def test_durations_numbers_and_timestamps_are_parsed(text: str, seconds: float) -> None:
    assert seconds_until(text) == pytest.approx(seconds)


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
def test_invalid_times_are_ignored(text: str) -> None:
    assert seconds_until(text) is None


@given(st.text() | st.from_regex(r"([0-9.]*(d|h|m|s|ms)?){1,4}", fullmatch=True))
def test_any_text_is_a_sensible_time_or_none(text: str) -> None:
    seconds = seconds_until(text)
    assert seconds is None or 0 <= seconds <= MAX_SECONDS


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_are_parsed_exactly(h: int, m: int, s: int, ms: int) -> None:
    assert seconds_until(f"{h}h{m}m{s}.{ms:03}s") == pytest.approx(h * 3600 + m * 60 + s + ms / 1000)


VENDORS: dict[str, tuple[dict[str, str], dict[str, RateLimitInfo]]] = {
    "OpenAI": (
        {
            "x-ratelimit-limit-requests": "5000",
            "x-ratelimit-limit-tokens": "160000",
            "x-ratelimit-limit-tokens_usage_based": "160000",
            "x-ratelimit-remaining-requests": "4999",
            "x-ratelimit-remaining-tokens": "159976",
            "x-ratelimit-remaining-tokens_usage_based": "159976",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        {
            "requests": RateLimitInfo(5000.0, 4999.0, 0.012, "requests"),
            "tokens": RateLimitInfo(160_000.0, 159_976.0, 360.0, "tokens"),
        },
    ),
    "OpenAI, of a project": (
        {
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "29900",
            "x-ratelimit-limit-project-tokens": "100000",
            "x-ratelimit-remaining-project-tokens": "99000",
            "x-ratelimit-reset-project-tokens": "250ms",
        },
        {
            "tokens": RateLimitInfo(30_000.0, 29_900.0, None, "tokens"),
            "project_tokens": RateLimitInfo(100_000.0, 99_000.0, 0.25, "tokens"),
        },
    ),
    "Azure": (
        {
            "x-ratelimit-remaining-requests": "11",
            "x-ratelimit-remaining-tokens": "9540",
            "x-ratelimit-reset-requests": "10",
            "x-ratelimit-reset-tokens": "37",
        },
        {
            "requests": RateLimitInfo(None, 11.0, 10.0, "requests"),
            "tokens": RateLimitInfo(None, 9540.0, 37.0, "tokens"),
        },
    ),
    "Azure, which does not know": (
        {
            "x-ratelimit-limit-tokens": "-1",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-tokens": "0",
        },
        {"tokens": RateLimitInfo(None, None, 0.0, "tokens")},
    ),
    "Groq: requests of a day, tokens of a minute": (
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        {
            "requests": RateLimitInfo(14_400.0, 14_370.0, 179.56, "requests"),
            "tokens": RateLimitInfo(18_000.0, 17_997.0, 7.66, "tokens"),
        },
    ),
    "Mistral": (
        {
            "x-ratelimit-limit-req-minute": "60",
            "x-ratelimit-remaining-req-minute": "59",
            "x-ratelimit-limit-tokens-minute": "50000",
            "x-ratelimit-remaining-tokens-minute": "47196",
            "x-ratelimit-limit-tokens-month": "4000000",
            "x-ratelimit-remaining-tokens-month": "3950246",
            "x-ratelimit-tokens-query-cost": "2804",
        },
        {
            "requests": RateLimitInfo(60.0, 59.0, None, "requests", 60.0),
            "tokens": RateLimitInfo(50_000.0, 47_196.0, None, "tokens", 60.0),
        },
    ),
    "Mistral, before": (
        {
            "ratelimitbysize-limit": "500000",
            "ratelimitbysize-query-cost": "32007",
            "ratelimitbysize-reset": "40",
            "x-ratelimitbysize-limit-minute": "500000",
            "x-ratelimitbysize-remaining-minute": "467993",
            "x-ratelimitbysize-remaining-month": "9947839",
        },
        {"tokens": RateLimitInfo(500_000.0, 467_993.0, None, "tokens", 60.0)},
    ),
    "Cerebras": (
        {
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-requests-day": "13693",
            "x-ratelimit-remaining-tokens-minute": "60000",
            "x-ratelimit-reset-requests-day": "11726.2840924263",
            "x-ratelimit-reset-tokens-minute": "26.28409242630005",
        },
        {
            "requests/day": RateLimitInfo(14_400.0, 13_693.0, 11_726.2840924263, "requests", 86_400.0),
            "tokens": RateLimitInfo(60_000.0, 60_000.0, 26.28409242630005, "tokens", 60.0),
        },
    ),
    "Anthropic": (
        {
            "date": "Thu, 21 Aug 2025 12:41:00 GMT",
            "anthropic-ratelimit-input-tokens-limit": "80000",
            "anthropic-ratelimit-input-tokens-remaining": "72000",
            "anthropic-ratelimit-input-tokens-reset": "2025-08-21T12:41:06Z",
            "anthropic-ratelimit-output-tokens-limit": "16000",
            "anthropic-ratelimit-output-tokens-remaining": "16000",
            "anthropic-ratelimit-output-tokens-reset": "2025-08-21T12:41:00Z",
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "999",
            "anthropic-ratelimit-requests-reset": "2025-08-21T12:40:59Z",
            "anthropic-ratelimit-tokens-limit": "96000",
            "anthropic-ratelimit-tokens-remaining": "88000",
            "anthropic-ratelimit-tokens-reset": "2025-08-21T12:41:06Z",
        },
        {
            # The reset is before the response: nothing to wait for, and nothing known of the period.
            "requests": RateLimitInfo(1000.0, 999.0, None, "requests"),
            "input_tokens": RateLimitInfo(80_000.0, 72_000.0, 6.0, "input_tokens"),
            "output_tokens": RateLimitInfo(16_000.0, 16_000.0, 0.0, "output_tokens"),
            "tokens": RateLimitInfo(96_000.0, 88_000.0, 6.0, "tokens"),
        },
    ),
    "none of these": (
        {
            "x-ratelimit-limit": "20",
            "x-ratelimit-remaining": "12",
            "ratelimit-limit": "5",
            "x-request-id": "1",
        },
        {},
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_headers_of_each_provider(vendor: str) -> None:
    headers, reported = VENDORS[vendor]
    for write in (str.lower, str.title, str.upper):
        raw = [(write(name).encode(), value.encode()) for name, value in headers.items()]
        assert (read_limits(raw, NOW) or {}) == reported


@pytest.mark.parametrize(
    ("vendor", "limit", "rate"),
    [
        ("Groq: requests of a day, tokens of a minute", "requests", 14_400 / 86_400),
        ("Groq: requests of a day, tokens of a minute", "tokens", 18_000 / 60),
        ("Cerebras", "requests/day", 14_400 / 86_400),
        ("Mistral", "tokens", 50_000 / 60),
    ],
)
def test_a_daily_limit_is_not_taken_as_one_per_minute(vendor: str, limit: str, rate: float) -> None:
    headers, _ = VENDORS[vendor]
    reported = read_limits([(name.encode(), value.encode()) for name, value in headers.items()], NOW)
    assert reported is not None
    # If the name does not contain the period, it is known once half of the limit is used.
    tracker, info = LimitTracker(None, 1.0, 1.0, 0.0), reported[limit]
    if info.period is None:
        assert info.limit is not None
        info = attrs.evolve(info, remaining=info.limit / 2, reset=info.limit / 2 / rate)
    tracker.update(info, 0.0, 0.0, 0.0)
    assert tracker.bucket is not None
    assert tracker.bucket.rate == pytest.approx(rate)


def test_timestamps_are_relative_to_the_response_s_date() -> None:
    raw = [
        (b"Date", b"Tue, 14 Nov 2023 23:13:20 GMT"),  # an hour ahead of our clock
        (b"anthropic-ratelimit-requests-reset", b"2023-11-14T23:13:50Z"),
    ]
    assert read_limits(raw, NOW) == {"requests": RateLimitInfo(reset=30.0)}
    assert read_limits([(b"date", b"rubbish"), *raw[1:]], NOW) == {"requests": RateLimitInfo(reset=3630.0)}


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"0", b"1e9", b"many", b"9" * 400, b"0.5", b"\xff", "٣".encode()]
)
def test_an_invalid_limit_is_ignored(value: bytes) -> None:
    assert read_limits([(b"x-ratelimit-limit-requests", value)], NOW) is None


@given(st.lists(st.tuples(st.sampled_from([*map(str.encode, ["x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"])]) | st.binary(), st.binary())))  # fmt: skip
def test_any_headers_give_valid_limits(raw: list[tuple[bytes, bytes]]) -> None:
    for reported in (read_limits(raw, NOW) or {}).values():
        assert reported.limit is None or reported.limit > 0
        assert reported.remaining is None or reported.remaining >= 0
        assert reported.reset is None or 0 <= reported.reset <= MAX_SECONDS
