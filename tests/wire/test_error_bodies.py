"""Error bodies: message, code, parameter, limit and wait, in every form that endpoints use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import RateLimited, StatusError
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.error_bodies import ErrorBody, parse_error_body

OPENAI = {"message": "the reason", "type": "invalid_request_error", "param": "temperature", "code": None}


def read(body: Any) -> ErrorBody:
    return parse_error_body(body if isinstance(body, bytes) else msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": OPENAI}, "the reason", "invalid_request_error"),
        ({"error": OPENAI | {"code": "unsupported_value"}}, "the reason", "unsupported_value"),
        (
            {"error": {"message": "the reason", "type": "insufficient_quota", "code": 429}},
            "the reason",
            "insufficient_quota",
        ),
        ({"error": {"message": "the reason", "code": 429}}, "the reason", "429"),
        (
            [{"error": {"code": 429, "message": "the reason", "status": "RESOURCE_EXHAUSTED"}}],
            "the reason",
            "RESOURCE_EXHAUSTED",
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "the reason"}},
            "the reason",
            "overloaded_error",
        ),
        (
            {"object": "error", "message": "the reason", "type": "BadRequestError", "code": 400},
            "the reason",
            "BadRequestError",
        ),
        ({"error": "the reason"}, "the reason", None),
        ({"error": "the reason", "code": "throttled"}, "the reason", "throttled"),
        ({"error": {"error": {"message": "the reason", "code": "inner"}}}, "the reason", "inner"),
        ({"detail": "the reason"}, "the reason", None),
        (
            {"detail": [{"loc": ["body", "model"], "msg": "the reason", "type": "missing"}]},
            "body.model: the reason",
            None,
        ),
        ({"message": "the reason", "code": "InvalidParameter"}, "the reason", "InvalidParameter"),
        ({"errors": [{"code": 7003, "message": "the reason"}], "success": False}, "the reason", "7003"),
        ({"error_code": 18, "error_msg": "the reason"}, "the reason", None),
        ("the reason", "the reason", None),
        (b'\xef\xbb\xbf{"error":{"message":"the reason"}}', "the reason", None),
        ({"error": {"message": 5}}, None, None),
        ({"error": {"message": ["a"], "code": ["b"], "type": {}, "param": 5}}, None, None),
        ([], None, None),
        (b"<html>", None, None),
        (b"", None, None),
    ],
)
def test_message_and_code_are_found_in_every_form(body: Any, message: str | None, code: str | None) -> None:
    error = read(body)
    assert (error.message, error.code) == (message, code)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    "error errors message code type detail details param status violations "
                    "quotaId retryDelay retry_after innererror object msg loc".split()
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_body_is_parsed_without_an_exception(body: Any) -> None:
    error = read(body)
    _ = error.limit, error.retryable, error.is_quota_error, error.is_empty
    assert error.retry_after is None or error.retry_after > 0


GOOGLE = "type.googleapis.com/google.rpc."


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "limit", "retryable"),
    [
        (
            {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None},
            "quota",
            False,
        ),
        ({"message": "pay", "type": "insufficient_quota", "code": 429}, "quota", False),
        ({"message": "pay", "type": "exceeded_current_quota_error"}, "quota", False),
        ({"message": "Your credit balance is too low to access the API"}, "quota", False),
        ("Your team has used all available credits or reached its monthly spending limit.", "quota", False),
        (
            {
                "message": "Rate limit reached for m on requests per min (RPM): Limit 3, Used 3.",
                "type": "requests",
                "code": "rate_limit_exceeded",
            },
            "requests_per_minute",
            True,
        ),
        (
            {"message": "Rate limit reached for m on tokens per min (TPM): Limit 30000"},
            "tokens_per_minute",
            True,
        ),
        (
            {"message": "Rate limit reached for m on requests per day (RPD): Limit 200"},
            "requests_per_day",
            True,
        ),
        ({"message": "Rate limit reached for m on tokens per day (TPD): Limit 1"}, "tokens_per_day", True),
        (
            {"message": "this would exceed your rate limit of 40,000 input tokens per minute"},
            "tokens_per_minute",
            True,
        ),
        ({"message": "Limit reached: 5 RPM"}, "requests_per_minute", True),
        ({"message": "That model is currently overloaded with other requests."}, "overloaded", True),
        ({"message": "slow", "type": "engine_overloaded_error"}, "overloaded", True),
        ({"message": "Service tier capacity exceeded for this model."}, "overloaded", True),
        ({"message": "Too many requests"}, None, True),
        (
            {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": GOOGLE + "QuotaFailure",
                        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                    },
                    {"@type": GOOGLE + "RetryInfo", "retryDelay": "1.5s"},
                ],
            },
            "requests_per_day",
            True,
        ),
    ],
)
async def test_a_429_names_its_limit(error: Any, limit: str | None, retryable: bool) -> None:
    async with FakeEndpoint(Answer(status=429, body={"error": error})).client() as client:
        with pytest.raises(RateLimited) as caught:
            await client.chat("?")
    assert (caught.value.limit, caught.value.retryable) == (limit, retryable)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "headers", "seconds"),
    [
        ({"details": [{"@type": GOOGLE + "RetryInfo", "retryDelay": "1.5s"}]}, {}, 1.5),
        ({"details": [{"@type": GOOGLE + "RetryInfo", "retryDelay": {"seconds": 2, "nanos": 0}}]}, {}, 2.0),
        ({"retry_after": 7}, {}, 7.0),
        ({"retry_after": "7"}, {}, 7.0),
        ({"details": [{"retryDelay": "1.5s"}]}, {"retry-after": "9"}, 9.0),
        ({"details": [{"retryDelay": "soon"}]}, {}, None),
        ({"details": [{"retryDelay": "-1s"}]}, {}, None),
        ({"retry_after": float("inf")}, {}, None),
        ({"retry_after": True}, {}, None),
        ({"retry_after": 0}, {}, None),
    ],
)
async def test_a_wait_in_the_body_is_used_without_a_header(
    error: Any, headers: dict[str, str], seconds: float | None
) -> None:
    async with FakeEndpoint(Answer(status=429, body={"error": error}, headers=headers)).client() as client:
        with pytest.raises(RateLimited) as caught:
            await client.chat("?")
    assert caught.value.retry_after == seconds


@pytest.mark.anyio
@pytest.mark.parametrize("status", [501, 505])
async def test_an_unsupported_request_is_not_retryable(status: int) -> None:
    async with FakeEndpoint(status).client() as client:
        with pytest.raises(StatusError) as caught:
            await client.chat("?")
    assert not caught.value.retryable


@pytest.mark.anyio
async def test_the_error_names_the_wrong_parameter() -> None:
    async with FakeEndpoint(Answer(status=400, body={"error": OPENAI})).client() as client:
        with pytest.raises(StatusError) as caught:
            await client.chat("?")
    assert caught.value.param == "temperature"
