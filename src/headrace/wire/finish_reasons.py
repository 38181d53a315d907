"""Finish reasons of an answer that is not complete."""

from __future__ import annotations

from headrace._support.message_content import first_choice
from headrace.errors import AnswerError
from headrace.replies import Reply

_CUT_OFF = "the answer was cut off; raise max_tokens="
_FILTERED = "the endpoint's content filter stopped the answer"

_EXPLANATIONS = {
    "length": _CUT_OFF,
    "max_tokens": _CUT_OFF,
    "content_filter": _FILTERED,
    "sensitive": _FILTERED,  # Zhipu
    "insufficient_system_resource": "the endpoint ran out of resources",  # DeepSeek
    "refusal": "the model refuses",
}


def refusal_text(reply: Reply) -> str | None:
    """Return what the model says when it refuses to answer, None if it does not refuse."""
    message = (first_choice(reply.body) or {}).get("message")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    return refusal if isinstance(refusal, str) and refusal else None


def with_finish_reason(reply: Reply, error: AnswerError) -> AnswerError:
    """Return the error of an unusable answer, with the finish reason if that explains the error."""
    reason = reply.finish_reason
    if reason not in _EXPLANATIONS:
        return error
    return AnswerError(f"{error} ({_EXPLANATIONS[reason]}; finish reason {reason!r})", reason)
