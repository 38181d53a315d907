"""What became of one item of a bulk run, in a form that goes from one process to another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs
import msgspec

from headrace.bulk.records import encode_line
from headrace.bulk.task import judge
from headrace.errors import AnswerError, CallError, CircuitOpen, HeadraceError
from headrace.model import Outcome
from headrace.reply import Answered


class Result(msgspec.Struct, array_like=True, gc=False):
    """An item's output line, and what the summary counts of it.

    ``code`` is the error's, None for a success. ``message`` says more only where there is no line: the call
    was not made, because its circuit was open (for ``retry_after`` seconds more) or, with None there, because
    of an error that ends the run.
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

    @property
    def error(self) -> CallError:
        """What a ``message`` was the message of; less what only the process knew in which it was raised."""
        if self.retry_after is not None:
            return CircuitOpen(self.message, self.retry_after)
        return next(
            (kind for kind in _kinds(CallError) if kind.__dict__.get("code") == self.code), CallError
        )(self.message)


def _kinds(kind: type[CallError]) -> Iterator[type[CallError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def result_of(index: int, id: str, outcome: Outcome, choices: Sequence[str]) -> Result:
    """The result of an item, its answer judged."""
    error, answer, reply = outcome.error, None, outcome.reply
    if error is not None:
        if isinstance(error, CircuitOpen):
            return Result(index, code=error.code, message=str(error), retry_after=error.retry_after)
        if isinstance(error, CallError) and error.ends_run:
            return Result(index, code=error.code, message=str(error))
        if isinstance(error, AnswerError):
            reply = error.partial  # it came, and is to be paid
            outcome = attrs.evolve(outcome, reply=reply)
    if isinstance(reply, Answered):
        answer = reply.answer
    elif reply is not None and error is None:
        answer, error = judge(choices, reply)
    line = encode_line(index, id, outcome, answer, error, time.time())
    if reply is None:
        return Result(index, line, outcome.attempts, outcome.elapsed, code=code_of(error))
    usage = reply.usage if outcome.attempts else None  # a cache's reply took no tokens
    return Result(
        index,
        line,
        outcome.attempts,
        outcome.elapsed,
        True,
        (usage.prompt_tokens or 0) if usage else 0,
        (usage.completion_tokens or 0) if usage else 0,
        reply.cost,
        code_of(error),
    )


def code_of(error: HeadraceError | None) -> str | None:
    """The short name of an error, None for none."""
    if error is None:
        return None
    return error.code if isinstance(error, CallError) else "request_error"
