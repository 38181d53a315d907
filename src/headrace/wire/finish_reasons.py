"""Reasons why an answer ended that mean it is not whole."""

from __future__ import annotations

from headrace.errors import AnswerError
from headrace.replies import Reply, first_choice

_CUT_OFF = "the answer was cut off; raise max_tokens="
_FILTERED = "the endpoint's content filter stopped the answer"

_NOT_WHOLE = {
    "length": _CUT_OFF,
    "max_tokens": _CUT_OFF,
    "content_filter": _FILTERED,
    "sensitive": _FILTERED,  # Zhipu
    "insufficient_system_resource": "the endpoint ran out of resources",  # DeepSeek
    "refusal": "the model refuses",
}


def refusal_text(reply: Reply) -> str | None:
    """What the model says where it refuses to answer, None where it does not."""
    message = (first_choice(reply.body) or {}).get("message")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    return refusal if isinstance(refusal, str) and refusal else None


def with_finish_reason(reply: Reply, error: AnswerError) -> AnswerError:
    """The error for an answer that is not what was asked for: ``error``, with why where that is known."""
    reason = reply.finish_reason
    if reason not in _NOT_WHOLE:
        return error
    return AnswerError(f"{error} ({_NOT_WHOLE[reason]}; finish reason {reason!r})", reason)
