"""Finish reasons of all vendors, and their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from headrace._support.message_content import first_choice
from headrace.errors import AnswerError
from headrace.replies import Reply

FinishKind: TypeAlias = Literal["cut_off", "context_window", "filtered", "refused", "failed", "pending"]

_KINDS: Mapping[str, FinishKind] = {
    "length": "cut_off",
    "max_tokens": "cut_off",  # Anthropic
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


def refusal_text(reply: Reply) -> str | None:
    """Return the text of the model's refusal to answer, None if it does not refuse."""
    message = (first_choice(reply.body) or {}).get("message")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    return refusal if isinstance(refusal, str) and refusal else None


def with_finish_reason(reply: Reply, error: AnswerError) -> AnswerError:
    """Return the error of an unusable answer, with the finish reason if that explains the error."""
    reason = reply.finish_reason
    explanation = _EXPLANATIONS.get(classify_finish_reason(reason))
    if reason == _OUT_OF_RESOURCES:
        explanation = "the endpoint ran out of resources"
    if explanation is None:
        return error
    return AnswerError(f"{error} ({explanation}; finish reason {reason!r})", reason)
