"""What is said of a call: key-value pairs under OpenTelemetry's names where it has one, and their text.

Names: OpenTelemetry semantic conventions for generative AI (``gen_ai.*``), HTTP (``http.*``) and errors
(``error.*``); ``headrace.*`` for what they do not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace import AnswerError, Call, CallError, Endpoint, InvalidReply, Reply, StatusError, Usage

BODY_LIMIT = 2_000
"""So many characters of a body are logged at most."""

_UNFIT = re.compile(r'[\s"=]')


def line(event: str, fields: Mapping[str, Any]) -> str:
    """``event key=value …``, values quoted where they need it (logfmt); always one line."""
    return " ".join([event, *(f"{key}={_written(value)}" for key, value in fields.items())])


def _written(value: Any) -> str:
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    if text and text.isprintable() and not _UNFIT.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # A line break from outside must not begin a new line, and with it a forged entry.
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


def call_fields(call: Call, now: float) -> dict[str, Any]:
    """What is known of any call: its id and model, attempts so far, milliseconds it took and was queued."""
    request = call.request
    fields: dict[str, Any] = {}
    if request.id is not None:
        fields["headrace.id"] = request.id
    if request.path != "/chat/completions":
        fields["url.path"] = request.path
    if request.model is not None:
        fields["gen_ai.request.model"] = request.model
    for key, value in request.tags.items():
        fields["headrace.tag." + _UNFIT.sub("_", key)] = value
    fields["headrace.attempts"] = call.attempts
    fields["headrace.elapsed_ms"] = round((now - call.started) * 1000, 1)
    if call.queued:
        fields["headrace.queued_ms"] = round(call.queued * 1000, 1)
    return fields


def reply_fields(reply: Reply) -> dict[str, Any]:
    """What a reply adds: status, model, tokens, cost in USD."""
    fields: dict[str, Any] = {"http.response.status_code": reply.status}
    if reply.model is not None:
        fields["gen_ai.response.model"] = reply.model
    if reply.usage is not None:
        fields |= _usage_fields(reply.usage)
    if reply.cost is not None:
        fields["headrace.cost"] = str(reply.cost)
    return fields


def _usage_fields(usage: Usage) -> dict[str, int]:
    """The counts of tokens that the endpoint gave; those of a kind only where there are some."""
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
    """What an error adds: its code, status and message.

    The message of an error about an answer quotes from that answer, so it is given only with ``bodies``.
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
    """The beginning of a body, without the endpoint's key."""
    # Before the cut, so that no half of a key stays at the end.
    text = endpoint.without_key(content).decode("utf-8", "replace")
    return text if len(text) <= BODY_LIMIT else text[:BODY_LIMIT] + "…"


def without_key(fields: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
    """``fields``, the endpoint's key in any text of them blotted out.

    Headers are never logged, but an endpoint may echo the key that it refuses in its answer, and a caller
    may put it where it does not belong.
    """
    return {
        name: endpoint.without_key(value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
