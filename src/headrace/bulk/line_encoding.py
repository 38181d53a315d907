"""Writes output lines: encodes outcomes, whatever their replies and answers hold."""

from __future__ import annotations

from decimal import Decimal
from math import floor
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.bulk.output_line import LineError, LineNotes, LineResponse, OutputLine
from headrace.calls import Outcome
from headrace.errors import CallError, HeadraceError, InputError, StatusError
from headrace.replies import Reply


def _plain(answer: Any) -> Any:
    """A pydantic model as plain values; msgspec cannot write it."""
    return answer.model_dump(mode="json")


def plain_answer(answer: Any) -> Any:
    """A typed answer as the values that a line has for it."""
    return msgspec.json.decode(_encode(answer))


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def encode_output_line(line: OutputLine) -> bytes:
    """A line that was read with `decode_line` and then changed, with its line feed."""
    return _encode(line) + b"\n"


_check_json = msgspec.json.Decoder(msgspec.Raw).decode

_DEEPEST = 100
"""Levels of nesting. No model's answer has ten."""


def encode_line(
    index: int,
    id: str,
    outcome: Outcome,
    answer: Any,
    error: HeadraceError | None,
    completed_at: float,
    digest: int = 0,
) -> bytes:
    """The output line of one item with its line feed; ``completed_at`` is in Unix seconds."""
    reply, content, why = outcome.reply, b"", None if error is None else _line_error(error)
    cost, possible_cost = cost_of(outcome)
    if reply is not None:
        content = reply.without_key(reply.content)
        if why is not None:
            why.message = reply.without_key(why.message)
        if answer is not None and content is not reply.content:
            answer = msgspec.Raw(reply.without_key(_encode(answer)))
    elapsed, completed_at = _rounded(outcome.elapsed, 1e6), _rounded(completed_at, 1e3)
    notes = LineNotes(outcome.attempts, elapsed, completed_at, cost, possible_cost, answer, digest)
    response = _line_response(reply, content, error)
    return _encode(OutputLine(f"headrace-{index}", id, response, why, notes)) + b"\n"


def cost_of(outcome: Outcome) -> tuple[Decimal | None, Decimal | None]:
    """The cost of an item in USD, failed or not, and the maximum for its attempts of unknown cost."""
    reply, error = outcome.reply, outcome.error
    if reply is not None:
        return reply.cost, reply.possible_cost
    return getattr(error, "cost", None), getattr(error, "possible_cost", None)


def _rounded(seconds: float, parts: float) -> float:
    """Seconds to a fraction of 1/``parts``; `round` takes four times as long."""
    return floor(seconds * parts + 0.5) / parts


def _line_error(error: HeadraceError) -> LineError:
    return LineError(code_of(error), encodable(str(error)))


def code_of(error: HeadraceError) -> str:
    """The code of an error; "input_error" if no request could be made for the item."""
    if isinstance(error, CallError):
        return error.code
    return "input_error" if isinstance(error, InputError) else "request_error"


def encodable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _line_response(reply: Reply | None, content: bytes, error: HeadraceError | None) -> LineResponse | None:
    if reply is not None:
        request_id = reply.request_id
        return LineResponse(reply.status, request_id and reply.without_key(request_id), _body(content))
    if isinstance(error, StatusError) and error.headers is not None:
        request_id = error.headers.get("x-request-id")
        return LineResponse(error.status, request_id, _body(error.body))
    return None


def _body(content: bytes) -> Any:
    """The unchanged body if it is JSON that fits on a line; else its decoded value, or its text."""
    deep = content.count(b"[") + content.count(b"{") > _DEEPEST
    try:
        # Checking is cheaper than decoding, but it does not check UTF-8.
        body = _check_json(content)
        text = content.decode()
        if deep:
            # Every program must be able to read the line, so a body at the limit of depth is too deep.
            _check_json(b"[" * _DEEPEST + content + b"]" * _DEEPEST)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None if deep else _decoded_body(content)
    if "\n" in text or "\r" in text:
        # JSON escapes line breaks in strings, so these are between values.
        return msgspec.Raw(content.replace(b"\n", b" ").replace(b"\r", b" "))
    return body


def _decoded_body(content: bytes) -> Any:
    """The value of a body that is nearly JSON (a lone surrogate, ``NaN``); else its text."""
    try:
        return decode_json(content)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None
