"""What a span says of a request, of a reply and of an error, by the names of the conventions in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from headrace import AnswerError, Call, CallError, InvalidReply, Reply, StatusError, Usage
from headrace_otel.conventions import Conventions
from headrace_otel.target import Value

CANCELLED = "cancelled"
"""``error.type`` of a call that its caller cancelled: no success, and no fault of the endpoint."""

_DEADLINE = "deadline_exceeded"

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
    """The parameters of a request, so far as they are of the kind that the conventions want."""
    found: dict[str, Value] = {}
    if call.request.id is not None:
        found["headrace.id"] = call.request.id
    if call.streamed:
        found["gen_ai.request.stream"] = True
    body = call.request.body
    if not body:
        return found
    for name, attribute in _DOUBLES.items():
        if _is_number(value := body.get(name)):
            found[attribute] = float(value)
    for name, attribute in _INTEGERS.items():
        if _is_number(value := body.get(name)):
            found[attribute] = int(value)
    if _is_number(most := body.get("top_k")):
        found["gen_ai.request.top_k"] = int(most) if conventions.is_latest else float(most)
    if conventions.is_latest:
        found |= _latest_request_attributes(body)
    if _is_number(choices := body.get("n")) and choices != 1:
        found["gen_ai.request.choice.count"] = int(choices)
    if stop := _texts(body.get("stop")):
        found["gen_ai.request.stop_sequences"] = stop
    if encodings := _texts(body.get("encoding_format")):
        found["gen_ai.request.encoding_formats"] = encodings
    wanted = body.get("response_format")
    if wanted is None and isinstance(text := body.get("text"), Mapping):
        wanted = text.get("format")
    if isinstance(wanted, Mapping) and wanted.get("type") in _FORMATS:
        found["gen_ai.output.type"] = _FORMATS[wanted["type"]]
    return found


def _latest_request_attributes(body: Mapping[str, Any]) -> dict[str, Value]:
    """What the released conventions have no names for."""
    found: dict[str, Value] = {}
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else body.get("reasoning_effort")
    if isinstance(effort, str):
        found["gen_ai.request.reasoning.level"] = effort
    if isinstance(previous := body.get("previous_response_id"), str):
        found["gen_ai.request.previous_response.id"] = previous
    return found


def reply_attributes(reply: Reply, conventions: Conventions) -> dict[str, Value]:
    """Model, tokens, cost, id and finish reasons of a reply."""
    found: dict[str, Value] = {}
    if reply.model is not None:
        found["gen_ai.response.model"] = reply.model
    if reply.usage is not None:
        found |= _usage_attributes(reply.usage, conventions)
    if reply.cost is not None:
        found["headrace.cost_usd"] = float(reply.cost)
    return found


def _usage_attributes(usage: Usage, conventions: Conventions) -> dict[str, Value]:
    """The counts of tokens that the endpoint gave; those of a kind only where there are some."""
    found: dict[str, Value] = {}
    if usage.prompt_tokens is not None:
        found["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    if usage.completion_tokens is not None:
        found["gen_ai.usage.output_tokens"] = usage.completion_tokens
    for attribute, count in conventions.counts.items():
        if tokens := count(usage):
            found[attribute] = tokens
    return found


def answer_attributes(reply: Reply, conventions: Conventions) -> dict[str, Value]:
    """What only the body says: the answer's id, and why each choice ended."""
    try:
        body = reply.body
    except InvalidReply:  # a stream that was cut, or passed through; a file
        return {}
    if not isinstance(body, Mapping):
        return {}
    found: dict[str, Value] = {}
    if isinstance(body.get("id"), str):
        found["gen_ai.response.id"] = body["id"]
    if reasons := _finish_reasons(body, conventions):
        found["gen_ai.response.finish_reasons"] = reasons
    return found


def _finish_reasons(body: Mapping[str, Any], conventions: Conventions) -> tuple[str, ...]:
    choices = body.get("choices")
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, Mapping)]
        if conventions.is_latest:  # a place for each choice, also where it never ended
            reasons = [reason if isinstance(reason, str) else "error" for reason in reasons]
    else:
        reasons = [body.get("stop_reason")]
    return tuple(reason for reason in reasons if isinstance(reason, str))


def error_type(call: Call, error: BaseException) -> str:
    """A short name with few values: an error's code, ``cancelled``, or the class of what is a defect."""
    if isinstance(error, CallError):
        return error.code
    if isinstance(error, Exception):
        return type(error).__name__
    # The client's deadline ends a call as a cancellation does, and makes an error of it further out.
    return CANCELLED if call.deadline is None or call.now() < call.deadline else _DEADLINE


def error_attributes(error: BaseException) -> dict[str, Value]:
    """The status that an endpoint refused with."""
    return {"http.response.status_code": error.status} if isinstance(error, StatusError) else {}


def description(error: BaseException, content: bool) -> str | None:
    """An error's message; without ``content`` only where it cannot quote from the request or the answer."""
    if content:
        return str(error)
    if isinstance(error, StatusError):
        return f"status {error.status}"
    if isinstance(error, CallError) and not isinstance(error, (AnswerError, InvalidReply)):
        return str(error)
    return None


def event_attributes(name: str, data: Mapping[str, Any], content: bool) -> dict[str, Value]:
    """What an event says, its texts only where they cannot quote from the request or the answer."""
    texts = content or name in {"retry", "circuit", "failover"}
    found: dict[str, Value] = {}
    for key, value in data.items():
        if isinstance(value, (bool, int, float)):
            found[f"headrace.{name}.{key}"] = value
        elif texts and value is not None:
            found[f"headrace.{name}.{key}"] = str(value)
    return found


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, (list, tuple)) else ()
