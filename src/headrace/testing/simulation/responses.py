"""Responses of the simulated endpoint."""

from __future__ import annotations

import math

import msgspec

from headrace.replies import Headers, Reply

_CHAT = (
    b'{"id":"chatcmpl-simulated","object":"chat.completion","created":0,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"simulated"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)
_JSON = (b"content-type", b"application/json")
_PLAIN = Headers([_JSON])

_MESSAGES = {
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    429: ("Rate limit reached; please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
}


def answer(model: str, prompt_tokens: int, completion_tokens: int, limits: dict[str, str]) -> Reply:
    """A chat completion with these token counts; ``limits`` are the headers about rate limits."""
    usage = (prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
    headers = _headers(limits) if limits else _PLAIN
    return Reply(200, headers, _CHAT % (msgspec.json.encode(model), *usage))


def error_response(status: int, headers: dict[str, str] | None = None) -> Reply:
    """An error in OpenAI's form."""
    message, kind, code = _MESSAGES[status]
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Reply(status, _headers(headers or {}), msgspec.json.encode({"error": error}))


def _headers(more: dict[str, str]) -> Headers:
    return Headers([_JSON, *((name.encode(), value.encode()) for name, value in more.items())])


def retry_after_headers(seconds: float) -> dict[str, str]:
    """The headers that ask a client to wait."""
    return {
        "retry-after": str(math.ceil(seconds)),
        "retry-after-ms": str(max(1, math.ceil(seconds * 1000))),
    }
