"""Results of items as journal lines: any answer, however odd, becomes a valid line."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import errors
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.output_line import decode_entry, decode_line
from headrace.bulk.worker_protocol import WorkerReport
from headrace.calls import Outcome
from headrace.errors import (
    BudgetExceeded,
    CallError,
    CircuitOpen,
    HeadraceError,
    InvalidReply,
    PolicyError,
    RateLimited,
    RequestError,
    StatusError,
)
from headrace.replies import Headers, ParsedReply, Reply, Usage
from headrace.wire.error_scope import ErrorScope
from headrace.wire.reply_bodies import CHAT, read_reply_body

HUGE = 10**25
NAMES = ["choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "total_tokens"]
NAMES += [
    "model",
    "error",
    "code",
    "finish_reason",
    "prompt_tokens_details",
    "cached_tokens",
    "index",
    "text",
]

texts = st.text(st.characters() | st.sampled_from("\ud83d\udc00\x00\x1b\u2028"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([HUGE, -HUGE, 2**63, 2**64, -1, 0, 1])
    | st.floats()
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)


def over_the_socket(result: ItemResult) -> ItemResult:
    """The result after its transfer from a worker to the process of the run."""
    frame = msgspec.msgpack.encode(WorkerReport([result]))
    return msgspec.msgpack.decode(frame, type=WorkerReport).results[0]


def check(result: ItemResult) -> None:
    """Check that a result can be sent between processes, and that every reader can parse its line."""
    assert over_the_socket(result).line == result.line
    assert result.line.endswith(b"\n")
    assert result.line.count(b"\n") == 1
    assert decode_entry(result.line).index == 5
    assert decode_entry(result.line).failed == (result.code is not None)
    line = decode_line(result.line)
    assert line.answer is None or isinstance(line.answer, str)
    json.loads(result.line)


def outcome_of(content: bytes, status: int = 200) -> Outcome:
    """The outcome of a body after the innermost step of the pipeline."""
    reply = Reply(status, Headers([]), content)
    try:
        read_reply_body(reply, CHAT)
    except InvalidReply as error:
        return Outcome(5, None, None, error, 1, 0.1)
    return Outcome(5, None, reply, None, 1, 0.1)


@given(values, st.booleans(), st.sampled_from([(), ("a", "b")]))
def test_any_json_becomes_a_line(body: Any, pretty: bool, choices: tuple[str, ...]) -> None:
    content = json.dumps(body, indent=2 if pretty else None).encode()
    check(item_result(5, "x", outcome_of(content), choices))
    choice = {"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    around = {"choices": [choice], "usage": body, "model": body, "created": body}
    answered = item_result(5, "x", outcome_of(json.dumps(around).encode()), choices)
    check(answered)
    assert answered.code is None or choices


@given(st.binary())
def test_any_bytes_become_a_line(content: bytes) -> None:
    check(item_result(5, "x", outcome_of(content), ()))


@given(texts, st.binary())
def test_any_error_becomes_a_line(message: str, body: bytes) -> None:
    for error in (StatusError(message, 400, Headers([]), body, message), InvalidReply(message, message)):
        result = item_result(5, "x", Outcome(5, None, None, error, 1, 0.1), ())
        check(result)
        assert result.code == error.code
    for other in (PolicyError(message), StatusError(message, 404, error_code=message), RequestError(message)):
        check(item_result(5, "x", Outcome(5, None, None, other, 1, 0.1), ()))
    for not_made in (CircuitOpen(message), BudgetExceeded(message)):
        result = over_the_socket(item_result(5, "x", Outcome(5, None, None, not_made, 1, 0.1), ()))
        assert (result.line, result.code) == (b"", not_made.code)


def test_an_unwritable_answer_fails_its_item_and_keeps_the_reply() -> None:
    reply = ParsedReply(
        200, Headers([]), b'{"paid": 1}', Usage(1, 2, 3), answer=object(), cost=Decimal("0.1")
    )
    result = item_result(5, "x", Outcome(5, None, reply, None, 1, 0.1), ())
    check(result)
    assert (result.code, result.cost, result.completion_tokens) == ("invalid_reply", Decimal("0.1"), 2)
    assert json.loads(result.line)["response"]["body"] == {"paid": 1}
    assert "the answer cannot be written: AttributeError" in result.message


def test_a_reply_that_raises_when_read_fails_its_item() -> None:
    @attrs.define(eq=False)
    class Broken(Reply):
        @property
        def text(self) -> str:
            raise ZeroDivisionError("a bug")

    result = item_result(5, "x", Outcome(5, None, Broken(200, Headers([]), b"{}"), None, 1, 0.1), ("a",))
    check(result)
    assert "ZeroDivisionError: a bug" in result.message


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_keep_their_type_between_processes(name: str) -> None:
    kind = getattr(errors, name)
    if kind is HeadraceError or not issubclass(kind, CallError):
        return
    error = kind("a message")
    if isinstance(error, StatusError):
        error.status = 418
    result = over_the_socket(item_result(5, "x", Outcome(5, None, None, error, 1, 0.1), ()))
    again = result.error
    assert (type(again), str(again)) == (kind, "a message")
    if isinstance(again, StatusError):
        assert again.status == 418


def test_circuits_and_rate_limits_keep_retry_after() -> None:
    open = item_result(5, "x", Outcome(5, None, None, CircuitOpen("open", 7.5), 0, 0.0), ())
    assert (open.line, open.retry_after) == (b"", 7.5)
    assert isinstance(open.error, CircuitOpen)
    assert open.error.retry_after == 7.5
    error = RateLimited("slow", 429, Headers([(b"retry-after", b"300")]), retryable=True)
    limited = over_the_socket(item_result(5, "x", Outcome(5, None, None, error, 1, 0.1), ()))
    assert limited.retry_after == pytest.approx(300)
    assert limited.shared is not None
    assert limited.shared.scope is ErrorScope.RATE
