"""From a reply to what is kept of it, and back."""

from __future__ import annotations

from decimal import Decimal

import attrs

from headrace import AnswerError, Call, Headers, InvalidReply, Reply
from headrace.plugins import parse_reply, read_reply_body
from headrace_cache.whole import expected_at, is_answer, is_whole

_FREE = Decimal(0)


@attrs.frozen
class Kept:
    """What is kept of a reply: its status, its content type and its content.

    Of the headers no other is: they are about the call that was made, its limits and its number.
    """

    status: int
    content_type: str | None
    content: bytes = attrs.field(repr=False)


def kept_of(call: Call, reply: Reply) -> Kept | None:
    """What is to be kept of a reply, less the key; None of one that is not a whole answer."""
    if not 200 <= reply.status < 300 or reply.stream is not None:
        return None
    if not is_answer(call.request.path, reply) or not is_whole(reply):
        return None
    kind = reply.headers.get("content-type")
    return Kept(reply.status, kind and reply.without_key(kind), reply.without_key(reply.content))


def revived(kept: Kept, call: Call) -> Reply | None:
    """The reply to ``call``, of no cost; None where it is not what this call asks for."""
    kind = kept.content_type
    headers = Headers([] if kind is None else [(b"content-type", kind.encode("latin-1"))])
    reply = Reply(kept.status, headers, kept.content)
    try:
        read_reply_body(reply, expected_at(call.request.path))
        if call.request.answer is not None:
            reply = parse_reply(reply, call.request.answer)
    except (AnswerError, InvalidReply):
        return None
    reply.cost = _FREE
    return reply
