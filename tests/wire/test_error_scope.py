"""Errors of vendors and of headrace: which concern one request, and which are shared by all."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import CallError, HeadraceError, StatusError
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.error_scope import ErrorScope, shared_error


def error_of(status: int, body: Any, headers: dict[str, str] | None = None) -> HeadraceError:
    """Return the error that a client raises for this reply."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def ask() -> HeadraceError:
        async with FakeEndpoint(
            Answer(status=status, body=content, headers=headers or {})
        ).client() as client:
            try:
                await client.chat("Hello")
            except HeadraceError as error:
                return error
            raise AssertionError("it succeeded")

    return anyio.run(ask)


def openai(message: str, type: str | None = None, param: str | None = None, code: Any = None) -> Any:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def google(status: int, message: str, name: str, **more: Any) -> Any:
    return [{"error": {"code": status, "message": message, "status": name, **more}}]


PAGE = b"<!doctype html><html><body>Sign in</body></html>"

ACCOUNT = {
    "key": (401, openai("Incorrect API key", "invalid_request_error", code="invalid_api_key")),
    "key, no body": (401, b""),
    "balance": (402, openai("Insufficient Balance", "unknown_error", code="invalid_request_error")),
    "quota": (
        429,
        openai("You exceeded your current quota", "insufficient_quota", code="insufficient_quota"),
    ),
    "proxy": (407, PAGE),
}
SETTING = {
    "model": (404, openai("The model `m` does not exist", "invalid_request_error", code="model_not_found")),
    "model with a name of an item": (404, openai("no model image-1", code="model_not_found")),
    "vLLM's model": (404, {"object": "error", "message": "The model `m` does not exist.", "code": 404}),
    "deployment": (404, openai("The deployment does not exist", code="DeploymentNotFound")),
    "path": (404, {"detail": "Not Found"}),
    "path, a page": (404, PAGE),
    "country": (403, openai("Country not supported", code="unsupported_country_region_territory")),
    "permission": (403, {"type": "error", "error": {"type": "permission_error", "message": "no access"}}),
    "forbidden": (403, PAGE),
    "method": (405, {"detail": "Method Not Allowed"}),
    "gone": (410, openai("The model has been retired")),
    "moved": (301, b""),
    "temporary": (307, b""),
    "location": (400, google(400, "User location is not supported for the API use.", "FAILED_PRECONDITION")),
    "Google's key": (
        400,
        google(400, "API key not valid.", "INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]),
    ),
    "credit": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"},
        },
    ),
    "parameter": (
        400,
        openai("Unsupported value", "invalid_request_error", "temperature", "unsupported_value"),
    ),
    "unknown parameter": (400, openai("Unknown parameter: 'seeed'.", None, "seeed", "unknown_parameter")),
    "parameter without a code": (400, openai("must be at most 2", None, "temperature")),
    "parameter of the Responses API": (400, openai("Invalid schema", None, "text.format.schema")),
    "tool": (400, openai("Invalid name", None, "tools[0].function.name", "invalid_value")),
    "nested parameter": (400, openai("Invalid schema", None, "response_format.json_schema", "invalid_value")),
    "FastAPI's parameter": (422, {"detail": [{"loc": ["body", "temperature"], "msg": "too big"}]}),
    "model as a parameter": (400, openai("invalid model", None, "model")),
    "not implemented": (501, b""),
    "a page with 200": (200, PAGE),
}
RATE = {"requests": (429, openai("Rate limit reached", "requests", code="rate_limit_exceeded"))}
ITEM = {
    "bad request": (400, openai("injected 400")),
    "no body": (400, b""),
    "too long": (400, openai("maximum context length is 8", None, "messages", "context_length_exceeded")),
    "too long, vLLM": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8 tokens.",
            "param": "max_tokens",
        },
    ),
    "content filter": (400, openai("filtered", None, "prompt", "content_filter")),
    "content policy": (
        400,
        openai("rejected", "image_generation_user_error", None, "content_policy_violation"),
    ),
    "moderation": (
        403,
        {
            "error": {
                "code": 403,
                "message": "refused",
                "metadata": {"reasons": ["violence"], "flagged_input": "x"},
            }
        },
    ),
    "flagged": (403, openai("Your input was flagged by the safety system")),
    "image": (400, openai("You uploaded an unsupported image", None, None, "invalid_image")),
    "no image model": (404, openai("No endpoints found that support image input", None, None, 404)),
    "message": (400, openai("Invalid role", None, "messages[3].role", "invalid_value")),
    "image's URL": (400, openai("cannot be fetched", None, "image_url")),
    "tokens of the input": (400, openai("more than there may be", None, "input_tokens")),
    "input": (400, openai("must not be empty", None, "input")),
    "content of FastAPI": (422, {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "none"}]}),
    "string": (400, openai("string too long", None, "user", "string_above_max_length")),
    "size": (413, b""),
    "conflict": (409, b""),
    "server": (500, openai("insufficient capacity")),
    "unavailable": (503, PAGE),
    "an error with 200": (200, openai("the prompt is empty")),
}


def scope_of(status: int, body: Any) -> ErrorScope:
    shared = shared_error(error_of(status, body))
    assert shared is not None
    return shared.scope


@pytest.mark.parametrize("name", ACCOUNT)
def test_account_errors_have_the_scope_account(name: str) -> None:
    assert scope_of(*ACCOUNT[name]) is ErrorScope.ACCOUNT


@pytest.mark.parametrize("name", SETTING)
def test_errors_of_model_path_and_parameter_have_the_scope_setting(name: str) -> None:
    assert scope_of(*SETTING[name]) is ErrorScope.SETTING


@pytest.mark.parametrize("name", RATE)
def test_a_rate_limit_has_the_scope_rate(name: str) -> None:
    assert scope_of(*RATE[name]) is ErrorScope.RATE


@pytest.mark.parametrize("name", ITEM)
def test_errors_of_the_content_are_not_shared(name: str) -> None:
    assert shared_error(error_of(*ITEM[name])) is None


def proxy_error(*, retryable: bool) -> headrace.ProxyError:
    error = headrace.ProxyError("it wants credentials")
    error.retryable = retryable
    return error


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (headrace.TLSError("the certificate has expired"), ErrorScope.ACCOUNT),
        (proxy_error(retryable=False), ErrorScope.ACCOUNT),
        (proxy_error(retryable=True), None),
        (headrace.BudgetExceeded("spent"), ErrorScope.RUN),
        (headrace.PolicyError("policy 'audit' raised KeyError"), ErrorScope.SETTING),
        (headrace.RequestError("no endpoint has the model 'm'"), ErrorScope.SETTING),
        (headrace.ConnectError("refused"), None),
        (headrace.CallTimeout("no answer"), None),
        (headrace.DeadlineExceeded("too late"), None),
        (headrace.IncompleteReply("cut"), None),
        (headrace.ReplyTooLarge("65 MiB"), None),
        (headrace.AnswerError("none of the choices"), None),
        (headrace.CircuitOpen("open"), None),
    ],
)
def test_the_scope_of_errors_without_a_reply(error: HeadraceError, scope: ErrorScope | None) -> None:
    found = shared_error(error)
    assert (None if found is None else found.scope) is scope


def with_request(error: CallError, model: str, path: str = "/chat/completions") -> CallError:
    error.request = headrace.Request({"model": model}, path)
    return error


def test_shared_errors_are_equal_by_status_code_parameter_path_and_model() -> None:
    def key(status: int, model: str, code: str | None = None, path: str = "/chat/completions") -> str:
        found = shared_error(with_request(StatusError("no", status, error_code=code), model, path))
        assert found is not None
        return found.key

    assert key(404, "a") == key(404, "a")
    assert len({key(404, "a"), key(404, "b"), key(405, "a"), key(404, "a", "model_not_found")}) == 4
    assert key(404, "a") != key(404, "a", path="/embeddings")
    assert key(402, "a") == key(402, "b"), "all models share the account"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "detail", "loc", "param", "code", "type", "details", "metadata", "message"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from([301, 400, 401, 404, 422, 429, 500]), json_values)
def test_any_json_body_has_a_scope_or_none(status: int, body: Any) -> None:
    shared_error(StatusError("no", status, body=json.dumps(body).encode()))
    shared_error(StatusError("no", status, body=json.dumps({"error": body, "detail": body}).encode()))


@given(st.binary())
def test_any_bytes_have_a_scope_or_none(body: bytes) -> None:
    shared_error(StatusError("no", 400, body=body))
