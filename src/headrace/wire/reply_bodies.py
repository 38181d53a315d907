"""What headrace itself reads of every answer: model, usage, and whether there is an answer in it.

Typed decoding does it for the usual answer. Whatever that refuses is decoded without types and read field
by field, so that an odd field costs itself and not the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.text import shown
from headrace.errors import InvalidReply
from headrace.replies import Reply, first_choice
from headrace.wire.error_bodies import ErrorBody, find_error, to_invalid_reply
from headrace.wire.stream_accumulator import accumulate_events
from headrace.wire.usage import UsageFields, parse_usage

_NOTHING = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    """Any object."""


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    error: Any = None


class _Envelope(msgspec.Struct):
    model: str | None = None
    usage: UsageFields | None = None
    error: Any = None
    choices: list[_Choice] | None = None
    output: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    service_tier: str | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


@attrs.frozen(eq=False)
class ExpectedBody:
    """What an answer must hold: a quick look for the usual answer, and a careful one for the others."""

    quick_check: Callable[[_Envelope], bool]
    full_check: Callable[[Any], bool]


def _usual_choices(envelope: _Envelope) -> bool:
    if not envelope.choices:
        return False
    for choice in envelope.choices:
        if choice.message is None or choice.error or choice.finish_reason == "error":
            return False
    return True


def _holds_choice(body: Any) -> bool:
    choice = first_choice(body)
    return choice is not None and choice.get("finish_reason") != "error" and not choice.get("error")


def _holds_output(body: Any) -> bool:
    if not isinstance(body, Mapping) or not isinstance(body.get("output"), list):
        return False
    return bool(body["output"]) or body.get("status") in ("queued", "in_progress", "incomplete")


def _holds_data(body: Any) -> bool:
    data = (body.get("data") or body.get("embeddings")) if isinstance(body, Mapping) else body
    return isinstance(data, list) and bool(data)


def _is_filled_list(raw: msgspec.Raw) -> bool:
    written = memoryview(raw)
    return len(written) > 2 and written[0] == ord("[")


CHAT = ExpectedBody(_usual_choices, _holds_choice)
_RESPONSE = ExpectedBody(lambda envelope: _is_filled_list(envelope.output), _holds_output)
_EMBEDDINGS = ExpectedBody(lambda envelope: _is_filled_list(envelope.data), _holds_data)

_EXPECTED = {
    "/chat/completions": CHAT,
    "/completions": CHAT,
    "/responses": _RESPONSE,
    "/embeddings": _EMBEDDINGS,
}


def expected_body(path: str) -> ExpectedBody | None:
    """What the answer to a POST of this path must hold; None where headrace does not know."""
    return _EXPECTED.get(path) or _EXPECTED.get(path.partition("?")[0])


def read_reply_body(reply: Reply, expected: ExpectedBody | None = None) -> None:
    """Fill in a reply's usage and model from its body.

    Args:
        reply: One whose status is a success.
        expected: What the answer must hold; None: anything will do.

    Raises:
        InvalidReply: It holds an error, nothing, no answer, or something that is neither JSON nor declared
            as another content type.
    """
    try:
        envelope = _decode(reply.content)
    except msgspec.ValidationError:  # JSON, but shaped otherwise
        _read_leniently(reply, expected)
        return
    except NOT_JSON:
        if expected is not None or not (reply.status == 204 or _declared_otherwise(reply)):
            _read_leniently(reply, expected)
        return
    if envelope.error or (expected is not None and not expected.quick_check(envelope)):
        _read_leniently(reply, expected)
        return
    reply.model, reply.service_tier = envelope.model, envelope.service_tier
    if envelope.usage is not None:
        reply.usage = envelope.usage.to_usage()
        if reply.service_tier is None:
            reply.service_tier = envelope.usage.tier


def _read_leniently(reply: Reply, expected: ExpectedBody | None) -> None:
    if expected is CHAT:
        assembled = accumulate_events(reply.content)  # some endpoints stream to everybody
        if assembled is not None:
            reply.content = assembled
    try:
        body = reply.body
    except InvalidReply:
        said = shown(reply.content) if reply.content else "an empty body"
        hint = "; does base_url lead to the API?" if reply.content.lstrip().startswith(b"<") else ""
        raise InvalidReply(
            f"{said} (status {reply.status}, but the body is not JSON{hint})", is_json=False
        ) from None
    if isinstance(body, Mapping):
        model, usage, tier = body.get("model"), parse_usage(body.get("usage")), body.get("service_tier")
        reply.model = model if isinstance(model, str) else None
        reply.usage = None if usage is None else usage.to_usage()
        reply.service_tier = tier if isinstance(tier, str) else None if usage is None else usage.tier
    found = expected is not None and expected.full_check(body)
    fault = find_error(body)
    if expected is not None and not found:
        fault = fault or _error_of_choice(body) or find_error(body, failed=True)
        if fault is None or fault.is_empty:
            raise InvalidReply(
                f"{shown(reply.content)} (status {reply.status}, but there is no answer in it)"
            )
    if fault is not None and not fault.is_empty:
        failure = to_invalid_reply(fault, reply.content, f"status {reply.status}, but the body is an error")
        if first_choice(body) is not None:
            failure.partial = reply
        raise failure


def _error_of_choice(body: Any) -> ErrorBody | None:
    """What a choice says that ended with an error."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and (choice.get("error") or choice.get("finish_reason") == "error"):
            return find_error(choice) or ErrorBody(code="error")
    return None


def _declared_otherwise(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").lower()
    return bool(kind) and "json" not in kind and not kind.startswith("text/html")
