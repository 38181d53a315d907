"""Finish reasons of all vendors, and their meaning."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace._support.message_content import first_choice
from headrace._support.text import printable
from headrace.errors import AnswerError
from headrace.replies import Reply
from headrace.wire.error_bodies import MAX_MESSAGE_CHARS

FinishKind: TypeAlias = Literal["cut_off", "context_window", "filtered", "refused", "failed", "pending"]

_KINDS: Mapping[str, FinishKind] = {
    "length": "cut_off",
    "max_tokens": "cut_off",  # Anthropic
    "max_output_tokens": "cut_off",  # a response
    "model_context_window_exceeded": "context_window",  # Anthropic
    "content_filter": "filtered",
    "content_filtered": "filtered",  # Bedrock
    "guardrail_intervened": "filtered",  # Bedrock
    "sensitive": "filtered",  # Zhipu
    "safety": "filtered",  # Gemini, and proxies that translate its answers
    "image_safety": "filtered",
    "prohibited_content": "filtered",
    "blocklist": "filtered",
    "spii": "filtered",
    "recitation": "filtered",
    "refusal": "refused",  # Anthropic
    "insufficient_system_resource": "failed",  # DeepSeek
    "network_error": "failed",
    "error": "failed",
    "abort": "failed",
    "cancelled": "failed",  # this and the next: statuses of a response
    "failed": "failed",
    "in_progress": "pending",
    "queued": "pending",
}
_EXPLANATIONS: Mapping[str | None, str] = {
    "cut_off": "the answer was cut off; raise max_tokens=",
    "filtered": "the endpoint's content filter stopped the answer",
    "refused": "the model refuses",
}
_OUT_OF_RESOURCES = "insufficient_system_resource"

_NAMES: Mapping[FinishKind | None, str] = {
    "cut_off": "length",
    "context_window": "length",
    "filtered": "content_filter",
    "refused": "refusal",
}
_COMPLETE: Mapping[str, str] = {
    "end_turn": "stop",  # Anthropic
    "stop_sequence": "stop",
    "completed": "stop",  # the status of a response
    "eos": "stop",
    "eos_token": "stop",  # Hugging Face
    "tool_use": "tool_calls",  # Anthropic
}


def classify_finish_reason(reason: Any) -> FinishKind | None:
    """Return why an answer is not complete, by its finish reason or by the status of a response.

    Args:
        reason: The ``finish_reason``, ``stop_reason`` or ``status`` of a decoded body, of any type.

    Returns:
        "cut_off" at the maximum length, "context_window" at the end of the model's context, "filtered" by a
        content filter, "refused" by the model, "failed" at the endpoint, "pending" if the answer is not
        finished; None for a complete answer and for an unknown reason.
    """
    return _KINDS.get(reason.lower()) if isinstance(reason, str) else None


class _Message(msgspec.Struct):
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Completion).decode


def finish_reason_of(content: bytes) -> str | None:
    """Return why the first answer of a body ended, by one name for all vendors.

    Args:
        content: The body of a successful reply.

    Returns:
        "stop", "tool_calls", "length" (cut off), "content_filter" or "refusal"; a vendor's own word if it is
        none of these; None if the body gives no reason.
    """
    try:
        choices = _decode(content).choices
    except NOT_JSON:  # or JSON of another form
        choices = []
    if not choices:
        return _reason_by_fields(content)
    return "refusal" if choices[0].message.refusal else _common_name(choices[0].finish_reason)


def _reason_by_fields(content: bytes) -> str | None:
    """Return the finish reason of a body of an unusual form, or of a response."""
    try:
        body = decode_json(content)
    except NOT_JSON:
        return None
    if _refusal_in(body) is not None:
        return "refusal"
    choice = first_choice(body)
    if choice is not None:
        return _common_name(choice.get("finish_reason"))
    if not isinstance(body, Mapping) or not isinstance(body.get("output"), list):
        return None
    details = body.get("incomplete_details")
    return _common_name((isinstance(details, Mapping) and details.get("reason")) or body.get("status"))


def _common_name(reason: Any) -> str | None:
    return _common_name_of(reason) if isinstance(reason, str) else None


@functools.lru_cache(maxsize=256)
def _common_name_of(reason: str) -> str | None:
    return _NAMES.get(classify_finish_reason(reason)) or _COMPLETE.get(reason.lower(), reason) or None


def refusal_error(reply: Reply) -> AnswerError | None:
    """Return the error of a reply in which the model refuses to answer, None if it does not refuse."""
    refusal = _refusal_in(reply.body)
    if refusal is None:
        return None
    return AnswerError(f"{printable(refusal[:MAX_MESSAGE_CHARS])} (the model refuses)", "refusal")


def _refusal_in(body: Any) -> str | None:
    """Return the text of a refusal in the first choice, or in the output of a response."""
    message = (first_choice(body) or {}).get("message")
    parts = [message] if isinstance(message, Mapping) else []
    output = body.get("output") if isinstance(body, Mapping) else None
    for item in output if isinstance(output, list) else ():
        content = item.get("content") if isinstance(item, Mapping) else None
        parts += content if isinstance(content, list) else []
    refusals = [part.get("refusal") for part in parts if isinstance(part, Mapping)]
    return next((refusal for refusal in refusals if refusal and isinstance(refusal, str)), None)


def incomplete_answer_error(reply: Reply, reason: str) -> AnswerError:
    """Return the error of an answer that ended for this reason.

    Args:
        reply: The reply.
        reason: "length", "content_filter" or "refusal", as `finish_reason_of` names it.
    """
    error = refusal_error(reply) if reason == "refusal" else None
    if error is not None:
        return error
    own = reply.finish_reason or reason
    return AnswerError(f"{_EXPLANATIONS[classify_finish_reason(reason)]} (finish reason {own!r})", reason)


def with_finish_reason(reply: Reply, error: AnswerError) -> AnswerError:
    """Return the error of an unusable answer, with the finish reason if that explains the error."""
    reason = reply.finish_reason
    explanation = _EXPLANATIONS.get(classify_finish_reason(reason))
    if reason == _OUT_OF_RESOURCES:
        explanation = "the endpoint ran out of resources"
    if explanation is None:
        return error
    return AnswerError(f"{error} ({explanation}; finish reason {reason!r})", reason)
