"""Conversion between a reply and its cache entry."""

from __future__ import annotations

from decimal import Decimal

import attrs

from headrace import AnswerError, Call, Headers, InvalidReply, Reply
from headrace.plugins import parse_reply, read_reply_body
from headrace_cache.completeness import expected_for, has_answer, is_complete

_ZERO = Decimal(0)


@attrs.frozen
class CacheEntry:
    """The stored part of a reply.

    Headers other than the content type are not stored: they describe one call, such as its limits and id.
    """

    status: int
    content_type: str | None
    content: bytes = attrs.field(repr=False)


def to_entry(call: Call, reply: Reply) -> CacheEntry | None:
    """The entry for a reply, without the endpoint's key; None if the reply is not a complete answer."""
    if not 200 <= reply.status < 300 or reply.stream is not None:
        return None
    if not has_answer(call.request.path, reply) or not is_complete(reply):
        return None
    content_type = reply.headers.get("content-type")
    return CacheEntry(
        reply.status, content_type and reply.without_key(content_type), reply.without_key(reply.content)
    )


def to_reply(entry: CacheEntry, call: Call) -> Reply | None:
    """The reply to ``call``, with a cost of 0; None if its answer is not valid for this call."""
    content_type = entry.content_type
    headers = Headers([] if content_type is None else [(b"content-type", content_type.encode("latin-1"))])
    reply = Reply(entry.status, headers, entry.content)
    try:
        read_reply_body(reply, expected_for(call.request.path))
        if call.request.answer is not None:
            reply = parse_reply(reply, call.request.answer)
    except (AnswerError, InvalidReply):
        return None
    reply.cost = _ZERO
    return reply
