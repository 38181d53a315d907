"""Span attributes of requests, replies, errors and events, by the names of the conventions in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from headrace import AnswerError, Call, CallError, InvalidReply, Reply, StatusError, Usage
from headrace_otel.conventions import Conventions
from headrace_otel.span_target import Value

CANCELLED = "cancelled"
"""``error.type`` of a call that its caller cancelled: neither a success nor an error of the endpoint."""

_DEADLINE_EXCEEDED = "deadline_exceeded"

_DOUBLES = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
_INTEGERS = {
    "seed": "gen_ai.request.seed",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
_FORMATS = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_attributes(call: Call, conventions: Conventions) -> dict[str, Value]:
    """Return the parameters of a request whose types the conventions allow."""
    attributes: dict[str, Value] = {}
    if call.request.id is not None:
        attributes["headrace.id"] = call.request.id
    if call.streamed:
        attributes["gen_ai.request.stream"] = True
    body = call.request.body
    if not body:
        return attributes
    for name, attribute in _DOUBLES.items():
        if _is_number(value := body.get(name)):
            attributes[attribute] = float(value)
    for name, attribute in _INTEGERS.items():
        if _is_number(value := body.get(name)):
            attributes[attribute] = int(value)
    if _is_number(top_k := body.get("top_k")):
        attributes["gen_ai.request.top_k"] = int(top_k) if conventions.is_latest else float(top_k)
    if conventions.is_latest:
        attributes |= _latest_request_attributes(body)
    if _is_number(choices := body.get("n")) and choices != 1:
        attributes["gen_ai.request.choice.count"] = int(choices)
    if stop := _texts(body.get("stop")):
        attributes["gen_ai.request.stop_sequences"] = stop
    if encodings := _texts(body.get("encoding_format")):
        attributes["gen_ai.request.encoding_formats"] = encodings
    output_format = body.get("response_format")
    if output_format is None and isinstance(text := body.get("text"), Mapping):
        output_format = text.get("format")
    if isinstance(output_format, Mapping) and output_format.get("type") in _FORMATS:
        attributes["gen_ai.output.type"] = _FORMATS[output_format["type"]]
    return attributes


def _latest_request_attributes(body: Mapping[str, Any]) -> dict[str, Value]:
    """Return attributes that the released conventions do not have."""
    attributes: dict[str, Value] = {}
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else body.get("reasoning_effort")
    if isinstance(effort, str):
        attributes["gen_ai.request.reasoning.level"] = effort
    if isinstance(previous := body.get("previous_response_id"), str):
        attributes["gen_ai.request.previous_response.id"] = previous
    return attributes


def reply_attributes(reply: Reply, conventions: Conventions) -> dict[str, Value]:
    """Return the model, tokens and cost of a reply."""
    attributes: dict[str, Value] = {}
    if reply.model is not None:
        attributes["gen_ai.response.model"] = reply.model
    if reply.usage is not None:
        attributes |= _usage_attributes(reply.usage, conventions)
    if reply.cost is not None:
        attributes["headrace.cost_usd"] = float(reply.cost)
    return attributes


def _usage_attributes(usage: Usage, conventions: Conventions) -> dict[str, Value]:
    """Return the token counts that the endpoint reported; counts of parts only if they are not 0."""
    attributes: dict[str, Value] = {}
    if usage.prompt_tokens is not None:
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    if usage.completion_tokens is not None:
        attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
    for attribute, count in conventions.counts.items():
        if tokens := count(usage):
            attributes[attribute] = tokens
    return attributes


def answer_attributes(reply: Reply, conventions: Conventions) -> dict[str, Value]:
    """Return the attributes that only the body has: the answer's id and each choice's finish reason."""
    try:
        body = reply.body
    except InvalidReply:  # a stream that broke or was passed through, or a file
        return {}
    if not isinstance(body, Mapping):
        return {}
    attributes: dict[str, Value] = {}
    if isinstance(body.get("id"), str):
        attributes["gen_ai.response.id"] = body["id"]
    if reasons := _finish_reasons(body, conventions):
        attributes["gen_ai.response.finish_reasons"] = reasons
    return attributes


def _finish_reasons(body: Mapping[str, Any], conventions: Conventions) -> tuple[str, ...]:
    """Return the finish reason of each choice."""
    choices = body.get("choices")
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, Mapping)]
        if conventions.is_latest:  # one for each choice, even if it has none
            reasons = [reason if isinstance(reason, str) else "error" for reason in reasons]
    else:
        reasons = [body.get("stop_reason")]
    return tuple(reason for reason in reasons if isinstance(reason, str))


def error_type(call: Call, error: BaseException) -> str:
    """Return a name of low cardinality: an error's code, ``cancelled``, or the class of another exception."""
    if isinstance(error, CallError):
        return error.code
    if isinstance(error, Exception):
        return type(error).__name__
    # The client's deadline cancels a call, and raises an error outside of this policy.
    return CANCELLED if call.deadline is None or call.now() < call.deadline else _DEADLINE_EXCEEDED


def error_attributes(error: BaseException) -> dict[str, Value]:
    """Return the HTTP status of an error response."""
    return {"http.response.status_code": error.status} if isinstance(error, StatusError) else {}


def error_description(error: BaseException, content: bool) -> str | None:
    """Return an error's message; without ``content``, only if it cannot quote the request or the answer."""
    if content:
        return str(error)
    if isinstance(error, StatusError):
        return f"status {error.status}"
    if isinstance(error, CallError) and not isinstance(error, (AnswerError, InvalidReply)):
        return str(error)
    return None


def event_attributes(name: str, data: Mapping[str, Any], content: bool) -> dict[str, Value]:
    """Return the data of an event; texts only if they cannot quote the request or the answer."""
    texts = content or name in {"retry", "circuit", "failover"}
    attributes: dict[str, Value] = {}
    for key, value in data.items():
        if isinstance(value, (bool, int, float)):
            attributes[f"headrace.{name}.{key}"] = value
        elif texts and value is not None:
            attributes[f"headrace.{name}.{key}"] = str(value)
    return attributes


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _texts(value: Any) -> tuple[str, ...]:
    """Return the strings in a parameter that is a string or a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, (list, tuple)) else ()
