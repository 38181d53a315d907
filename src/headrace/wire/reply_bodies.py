"""Reads the body of a reply: the model, the usage, and whether there is an answer.

A usual body is decoded by types. Any other is read field by field, so that a field of the wrong type is
ignored and the answer is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.message_content import first_choice
from headrace._support.text import shown
from headrace.errors import InvalidReply
from headrace.replies import Reply
from headrace.wire.error_bodies import ErrorBody, find_error, to_invalid_reply
from headrace.wire.stream_accumulator import accumulate_events
from headrace.wire.usage import UsageFields, parse_usage

_MISSING = msgspec.Raw(b"")


class _AnyObject(msgspec.Struct):
    """An object of any form."""


class _Choice(msgspec.Struct):
    message: _AnyObject | None = None
    finish_reason: str | None = None
    error: Any = None


class _ReplyBody(msgspec.Struct):
    model: str | None = None
    usage: UsageFields | None = None
    error: Any = None
    choices: list[_Choice] | None = None
    output: msgspec.Raw = _MISSING
    data: msgspec.Raw = _MISSING
    service_tier: str | None = None


_decode = msgspec.json.Decoder(_ReplyBody).decode


@attrs.frozen(eq=False)
class ExpectedBody:
    """The checks whether a reply's body is an answer.

    Attributes:
        quick_check: Whether a body decoded by types is a usual answer. If not, ``full_check`` decides.
        full_check: Whether a body decoded without types contains an answer.
    """

    quick_check: Callable[[_ReplyBody], bool]
    full_check: Callable[[Any], bool]


def _all_choices_are_answers(decoded: _ReplyBody) -> bool:
    if not decoded.choices:
        return False
    for choice in decoded.choices:
        if choice.message is None or choice.error or choice.finish_reason == "error":
            return False
    return True


def _has_choice(body: Any) -> bool:
    choice = first_choice(body)
    return choice is not None and choice.get("finish_reason") != "error" and not choice.get("error")


def _has_output(body: Any) -> bool:
    if not isinstance(body, Mapping) or not isinstance(body.get("output"), list):
        return False
    return bool(body["output"]) or body.get("status") in ("queued", "in_progress", "incomplete")


def _has_data(body: Any) -> bool:
    data = (body.get("data") or body.get("embeddings")) if isinstance(body, Mapping) else body
    return isinstance(data, list) and bool(data)


def _is_filled_list(raw: msgspec.Raw) -> bool:
    content = memoryview(raw)
    return len(content) > 2 and content[0] == ord("[")


CHAT = ExpectedBody(_all_choices_are_answers, _has_choice)
_RESPONSE = ExpectedBody(lambda decoded: _is_filled_list(decoded.output), _has_output)
_EMBEDDINGS = ExpectedBody(lambda decoded: _is_filled_list(decoded.data), _has_data)

_EXPECTED = {
    "/chat/completions": CHAT,
    "/completions": CHAT,
    "/responses": _RESPONSE,
    "/embeddings": _EMBEDDINGS,
}


def expected_body(path: str) -> ExpectedBody | None:
    """Return the checks for the answer to a POST of this path, None for an unknown path."""
    return _EXPECTED.get(path) or _EXPECTED.get(path.partition("?")[0])


def read_reply_body(reply: Reply, expected: ExpectedBody | None = None) -> None:
    """Set a reply's model, usage and service tier from its body.

    Args:
        reply: A reply with a success status.
        expected: The checks of the body; None allows any body.

    Raises:
        InvalidReply: The body is an error, is empty, contains no answer, or is not JSON although its content
            type does not name another format.
    """
    try:
        decoded = _decode(reply.content)
    except msgspec.ValidationError:  # JSON of another form
        _read_leniently(reply, expected)
        return
    except NOT_JSON:
        if expected is not None or not (reply.status == 204 or _has_other_content_type(reply)):
            _read_leniently(reply, expected)
        return
    if decoded.error or (expected is not None and not expected.quick_check(decoded)):
        _read_leniently(reply, expected)
        return
    reply.model, reply.service_tier = decoded.model, decoded.service_tier
    if decoded.usage is not None:
        reply.usage = decoded.usage.to_usage()
        if reply.service_tier is None:
            reply.service_tier = decoded.usage.tier


def _read_leniently(reply: Reply, expected: ExpectedBody | None) -> None:
    """Read an unusual body field by field."""
    if expected is CHAT:
        answer = accumulate_events(reply.content)  # some endpoints always stream
        if answer is not None:
            reply.content = answer
    try:
        body = reply.body
    except InvalidReply:
        content = shown(reply.content) if reply.content else "an empty body"
        hint = "; does base_url lead to the API?" if reply.content.lstrip().startswith(b"<") else ""
        raise InvalidReply(
            f"{content} (status {reply.status}, but the body is not JSON{hint})", is_json=False
        ) from None
    if isinstance(body, Mapping):
        model, usage, tier = body.get("model"), parse_usage(body.get("usage")), body.get("service_tier")
        reply.model = model if isinstance(model, str) else None
        reply.usage = None if usage is None else usage.to_usage()
        reply.service_tier = tier if isinstance(tier, str) else None if usage is None else usage.tier
    error = find_error(body)
    if expected is not None and not expected.full_check(body):
        error = error or _find_error_in_choices(body) or find_error(body, failed=True)
        if error is None or error.is_empty:
            raise InvalidReply(
                f"{shown(reply.content)} (status {reply.status}, but the body contains no answer)"
            )
    if error is not None and not error.is_empty:
        exception = to_invalid_reply(error, reply.content, f"status {reply.status}, but the body is an error")
        if first_choice(body) is not None:
            exception.partial = reply
        raise exception


def _find_error_in_choices(body: Any) -> ErrorBody | None:
    """Return the error of the first choice that ended with one."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and (choice.get("error") or choice.get("finish_reason") == "error"):
            return find_error(choice) or ErrorBody(code="error")
    return None


def _has_other_content_type(reply: Reply) -> bool:
    content_type = reply.headers.get("content-type", "").lower()
    return bool(content_type) and "json" not in content_type and not content_type.startswith("text/html")
