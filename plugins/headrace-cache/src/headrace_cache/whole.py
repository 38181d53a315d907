"""Which replies are answers, and which answers are whole: ended by the model, or as long as was allowed.

The others may come out differently when they are asked for again: what a filter stopped or the model refused,
what the endpoint broke off, a response that is not completed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace import InvalidReply, Reply
from headrace.plugins import ExpectedBody, expected_body

_NOT_WHOLE = frozenset(
    {
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "sensitive",
        "safety",
        "image_safety",
        "prohibited_content",
        "blocklist",
        "spii",
        "recitation",
        "refusal",
        "insufficient_system_resource",
        "network_error",
        "error",
        "abort",
        "cancelled",
        "failed",
        "in_progress",
        "queued",
    }
)
"""Finish reasons, and the states of a response, lower case. One that is not here is taken for an end."""

_APIS = ("/chat/completions", "/completions", "/responses", "/embeddings")

_ENDINGS = (b'"choices"', b'"stop_reason"', b'"output"')
"""One of these is in every body that says how an answer ended; embeddings, which are long, have none."""


def expected_at(path: str) -> ExpectedBody | None:
    """What the answer to a POST of this path holds, wherever its API begins; None of messages."""
    path = path.partition("?")[0]
    return next((expected_body(end) for end in _APIS if path.endswith(end)), None)


def is_answer(path: str, reply: Reply) -> bool:
    """Whether a reply holds an answer.

    Where `headrace` itself knows the path it has looked; an SDK's paths begin with a version.
    """
    if expected_body(path) is not None:
        return True
    try:
        body = reply.body
    except InvalidReply:
        return False
    expected = expected_at(path)
    if expected is None:
        return isinstance(body, Mapping) and isinstance(body.get("content"), list)
    return expected.full_check(body)


def is_whole(reply: Reply) -> bool:
    """Whether all that a reply holds is answers, and each of them is whole."""
    if not any(name in reply.content for name in _ENDINGS):
        return True
    try:
        body = reply.body
    except InvalidReply:
        return False
    return not isinstance(body, Mapping) or not any(_not_whole(reason) for reason in _reasons(body))


def _not_whole(reason: Any) -> bool:
    return isinstance(reason, str) and reason.lower() in _NOT_WHOLE


def _reasons(body: Mapping[str, Any]) -> Iterator[Any]:
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
