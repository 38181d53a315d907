"""The fields of a log line: key-value pairs about a call, and their text.

Names follow the OpenTelemetry semantic conventions for generative AI (``gen_ai.*``), HTTP (``http.*``) and
errors (``error.*``). Fields that these do not define are named ``headrace.*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace import AnswerError, Call, CallError, Endpoint, InvalidReply, Reply, StatusError, Usage

BODY_LIMIT = 2_000
"""Maximum number of characters of a body that are logged."""

_NEEDS_QUOTES = re.compile(r'[\s"=]')


def logfmt_line(event: str, fields: Mapping[str, Any]) -> str:
    """``event key=value …`` in logfmt: values are quoted if needed, and the result is always one line."""
    return " ".join([event, *(f"{key}={_logfmt_value(value)}" for key, value in fields.items())])


def _logfmt_value(value: Any) -> str:
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    if text and text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # A line break in a value must not start a new line, which could forge an entry.
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


def call_fields(call: Call, now: float) -> dict[str, Any]:
    """The fields of every call: its id, model and attempts, and milliseconds elapsed and queued."""
    request = call.request
    fields: dict[str, Any] = {}
    if request.id is not None:
        fields["headrace.id"] = request.id
    if request.path != "/chat/completions":
        fields["url.path"] = request.path
    if request.model is not None:
        fields["gen_ai.request.model"] = request.model
    for key, value in request.tags.items():
        fields["headrace.tag." + _NEEDS_QUOTES.sub("_", key)] = value
    fields["headrace.attempts"] = call.attempts
    fields["headrace.elapsed_ms"] = round((now - call.started) * 1000, 1)
    if call.queued:
        fields["headrace.queued_ms"] = round(call.queued * 1000, 1)
    return fields


def reply_fields(reply: Reply) -> dict[str, Any]:
    """The fields of a reply: status, model, tokens and cost in USD."""
    fields: dict[str, Any] = {"http.response.status_code": reply.status}
    if reply.model is not None:
        fields["gen_ai.response.model"] = reply.model
    if reply.usage is not None:
        fields |= _usage_fields(reply.usage)
    if reply.cost is not None:
        fields["headrace.cost"] = str(reply.cost)
    return fields


def _usage_fields(usage: Usage) -> dict[str, int]:
    """The token counts that the endpoint reported; those of special kinds only if above 0."""
    totals = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    fields = {name: count for name, count in totals.items() if count is not None}
    kinds = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": (usage.cache_write_tokens or 0)
        + (usage.cache_write_1h_tokens or 0),
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return fields | {name: count for name, count in kinds.items() if count}


def error_fields(call: Call, error: Exception, bodies: bool) -> dict[str, Any]:
    """The fields of an error: its code, status and message.

    The message of an error about a reply quotes the reply, so it is included only with ``bodies``.
    """
    fields: dict[str, Any] = {
        "error.type": error.code if isinstance(error, CallError) else type(error).__name__
    }
    if isinstance(error, StatusError):
        fields["http.response.status_code"] = error.status
        if error.error_code is not None:
            fields["headrace.error_code"] = error.error_code
    if bodies or not isinstance(error, (StatusError, InvalidReply, AnswerError)):
        fields["error.message"] = str(error)
    return fields


def body_text(content: bytes, endpoint: Endpoint) -> str:
    """The start of a body, without the endpoint's key."""
    # Redact before the cut, so that no part of the key remains at the end.
    text = endpoint.without_key(content).decode("utf-8", "replace")
    return text if len(text) <= BODY_LIMIT else text[:BODY_LIMIT] + "…"


def redact_fields(fields: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
    """Return ``fields`` with the endpoint's key redacted in all texts.

    Headers are never logged, but an endpoint may quote a refused key in its reply, and a caller may put the
    key in a tag or a message.
    """
    return {
        name: endpoint.without_key(value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
