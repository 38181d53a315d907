"""Which replies have an answer, and which answers are complete.

An answer is complete if the model ended it, or if it has the length that the request allows. Other answers
may be different at the next call: those stopped by a filter, refused by the model or broken off by the
endpoint, and responses that are not completed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace import InvalidReply, Reply
from headrace.plugins import ExpectedBody, classify_finish_reason, expected_body

_INCOMPLETE = frozenset({"filtered", "refused", "failed", "pending"})

_KNOWN_PATHS = ("/chat/completions", "/completions", "/responses", "/embeddings")

_REASON_MARKERS = (b'"choices"', b'"stop_reason"', b'"output"')
"""Every body with a finish reason contains one of these; embeddings, which are long, contain none."""


def expected_for(path: str) -> ExpectedBody | None:
    """What the reply to a POST to this path, after any prefix, must contain; None for messages."""
    path = path.partition("?")[0]
    return next((expected_body(known) for known in _KNOWN_PATHS if path.endswith(known)), None)


def has_answer(path: str, reply: Reply) -> bool:
    """Whether a reply has an answer.

    headrace has already checked replies to known paths. The paths of an SDK begin with a version.
    """
    if expected_body(path) is not None:
        return True
    try:
        body = reply.body
    except InvalidReply:
        return False
    expected = expected_for(path)
    if expected is None:
        return isinstance(body, Mapping) and isinstance(body.get("content"), list)
    return expected.full_check(body)


def is_complete(reply: Reply) -> bool:
    """Whether every answer in a reply is complete."""
    if not any(name in reply.content for name in _REASON_MARKERS):
        return True
    try:
        body = reply.body
    except InvalidReply:
        return False
    return not isinstance(body, Mapping) or not any(map(_is_incomplete, _finish_reasons(body)))


def _is_incomplete(reason: Any) -> bool:
    return classify_finish_reason(reason) in _INCOMPLETE


def _finish_reasons(body: Mapping[str, Any]) -> Iterator[Any]:
    for choice in _mappings(body.get("choices")):
        yield choice.get("finish_reason")
        message = choice.get("message")
        if isinstance(message, Mapping) and message.get("refusal"):
            yield "refusal"
    yield body.get("stop_reason")
    for item in _mappings(body.get("output")):
        for part in _mappings(item.get("content")):
            if part.get("type") == "refusal":
                yield "refusal"
    if "output" in body:
        yield body.get("status")
        details = body.get("incomplete_details")
        yield details.get("reason") if isinstance(details, Mapping) else None


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
