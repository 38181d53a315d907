"""The result of one item of a bulk run, in a form that can be sent between processes."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from decimal import Decimal

import msgspec

from headrace import errors
from headrace.bulk.fail_on import DEFAULT_FAIL_ON
from headrace.bulk.line_encoding import code_of, cost_of, encodable, encode_line
from headrace.bulk.task import read_choice
from headrace.calls import Outcome
from headrace.errors import (
    AnswerError,
    CallError,
    CircuitOpen,
    HeadraceError,
    InvalidReply,
    RateLimited,
    StatusError,
)
from headrace.replies import ParsedReply, Reply
from headrace.wire.error_scope import SharedError, shared_error
from headrace.wire.finish_reasons import finish_reason_of, incomplete_answer_error

_LONGEST_MESSAGE = 2000
"""Characters of an error's message."""

_USUAL_REASONS = frozenset(("stop", "length", "tool_calls"))
"""Finish reasons that cannot contain a key."""

_LONGEST_REASON = 40
"""Characters of a finish reason."""


class ItemResult(msgspec.Struct, array_like=True, gc=False):
    """The output line of an item, and its values for the summary.

    Attributes:
        line: The output line; empty if the call was not made, because of an open circuit or an error that
            ends the run.
        elapsed: Seconds, including waits.
        answered: Whether there is a successful reply, even if its answer was rejected.
        cost: USD, None if unknown.
        code: The code of the error, None for a success; ``message`` and ``status`` belong to it.
        retry_after: Seconds until the next probe of an open circuit, or the wait that a rate limit asked for.
        shared: The error if later calls may share it.
        number: The number of the call, see `SharedErrorDetector.begin`.
        possible_cost: Maximum cost in USD of attempts whose cost is unknown.
        finish_reason: Why the answer ended, by one name for all vendors; None if unknown.
        step: The place of the step in a job with steps, from 0.
        further_reasons: Those of the further answers of a call that brought several.
        id: The id of the item; empty for the result of several calls together.
        digest: The digest of the item's row; see `Task.digest`.
    """

    index: int
    line: bytes = b""
    attempts: int = 0
    elapsed: float = 0.0
    answered: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal | None = None
    code: str | None = None
    message: str = ""
    retry_after: float | None = None
    status: int | None = None
    shared: SharedError | None = None
    number: int = 0
    possible_cost: Decimal | None = None
    finish_reason: str | None = None
    step: int = 0
    further_reasons: list[str] = []
    id: str = ""
    digest: int = 0

    @property
    def may_pause_drawing(self) -> bool:
        """Whether this result must be handled before the next item is drawn."""
        return self.shared is not None or not self.line

    @property
    def error(self) -> HeadraceError:
        """The error, restored with its code, message, status and ``retry_after`` only."""
        if self.code is None or self.code not in _KINDS:
            return HeadraceError(self.message)
        error: HeadraceError = _KINDS[self.code](self.message)
        if isinstance(error, CircuitOpen):
            error.retry_after = self.retry_after or 0.0
        elif isinstance(error, StatusError):
            error.status = self.status or 0
        return error


_ERRORS = [getattr(errors, name) for name in errors.__all__]
_KINDS = {kind.code: kind for kind in _ERRORS if issubclass(kind, CallError)}


def item_result(
    index: int,
    id: str,
    outcome: Outcome,
    choices: Sequence[str],
    fail_on: Set[str] = DEFAULT_FAIL_ON,
    digest: int = 0,
) -> ItemResult:
    """The result of an item, its answer checked against the choices.

    If the answer cannot be written to a line, the item fails and the run continues.

    Args:
        index: The number of the item in the run.
        id: The id of the item.
        outcome: What the call returned.
        choices: The allowed answers; empty for any.
        fail_on: The finish reasons that make the item fail; see `headrace.bulk.run`.
        digest: The digest of the item's row; see `Task.digest`.
    """
    try:
        return _result(index, id, outcome, choices, fail_on, digest)
    except Exception as problem:
        failed = msgspec.structs.replace(outcome, reply=None, error=unwritable(problem))
        return _result(index, id, failed, (), fail_on, digest)


def unwritable(problem: Exception) -> InvalidReply:
    """The error of an answer that JSON cannot represent."""
    return InvalidReply(f"the answer cannot be written: {type(problem).__name__}: {problem}")


def _result(
    index: int, id: str, outcome: Outcome, choices: Sequence[str], fail_on: Set[str], digest: int
) -> ItemResult:
    error, answer, reply = outcome.error, None, outcome.reply
    if error is not None:
        if isinstance(error, CallError) and (error.ends_run or isinstance(error, CircuitOpen)):
            not_made = ItemResult(index)
            _describe(not_made, error)
            return not_made
        if isinstance(error, AnswerError):
            reply = error.partial  # it was received, so it costs money
            outcome = msgspec.structs.replace(outcome, reply=reply)
    reason = None if reply is None else _finish_reason(reply)
    if reply is not None and error is None:
        if reason is not None and reason in fail_on:
            error = incomplete_answer_error(reply, reason)
        elif isinstance(reply, ParsedReply):
            answer = reply.answer
        else:
            answer, error = read_choice(choices, reply)
    try:
        line = encode_line(index, id, outcome, answer, error, time.time(), digest)
    except Exception as problem:
        if answer is None:
            raise
        error = unwritable(problem)  # keep the reply without its answer
        line = encode_line(index, id, outcome, None, error, time.time(), digest)
    result = ItemResult(index, line, outcome.attempts, outcome.elapsed)
    result.cost, result.possible_cost = cost_of(outcome)
    result.finish_reason = reason
    result.id, result.digest = id, digest
    if reply is not None:
        usage = reply.usage if outcome.attempts else None  # a cached reply uses no tokens
        result.answered = True
        if usage is not None:
            result.prompt_tokens = usage.prompt_tokens or 0
            result.completion_tokens = usage.completion_tokens or 0
    if error is not None:
        _describe(result, error)
    return result


def _finish_reason(reply: Reply) -> str | None:
    reason = finish_reason_of(reply.content)
    if reason in _USUAL_REASONS:
        return reason
    return reason and encodable(reply.without_key(reason))[:_LONGEST_REASON]


def _describe(result: ItemResult, error: HeadraceError) -> None:
    result.code = code_of(error)
    result.message = encodable(str(error))[:_LONGEST_MESSAGE]
    shared = None if result.answered else shared_error(error)
    if shared is not None:
        result.shared = SharedError(encodable(shared.key)[:_LONGEST_MESSAGE], shared.scope)
    if isinstance(error, StatusError):
        result.status = error.status
    if isinstance(error, (RateLimited, CircuitOpen)):
        result.retry_after = error.retry_after
