"""Charges: the cost of one attempt, and whether a failed attempt may be billed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

from headrace import (
    AnswerError,
    CallError,
    CallTimeout,
    CircuitOpen,
    ConnectError,
    InvalidReply,
    PolicyError,
    ProtocolError,
    Reply,
    ReplyTooLarge,
    StatusError,
    Usage,
)
from headrace_cost.token_rates import ZERO, add

NOTE_KEY = "cost.charges"
"""The key of a call's list of charges in its notes."""

_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
"""Statuses of a gateway that stopped waiting; the model behind it may have finished the answer."""

_BILLED_ERRORS = (AnswerError, InvalidReply, ProtocolError, ReplyTooLarge, PolicyError)


Charge: TypeAlias = tuple[str | None, Usage | None, Decimal | None, Decimal | None, BaseException | None]
"""The charge of one attempt; a tuple for speed, because each call has one.

Its items: the model; the tokens; the cost in USD, None if unknown; the most that it may have cost if the cost
is unknown, None if there is no bound; the error, None for a reply.
"""


def may_be_billed(error: BaseException) -> bool:
    """Whether an attempt that failed with ``error`` may be billed.

    An attempt that the endpoint refused, or that did not reach it completely, is not billed. A cancelled one
    may be, because most endpoints finish it.
    """
    if isinstance(error, CallTimeout):
        return error.phase not in {"connect", "write"}
    if isinstance(error, ConnectError):
        return error.sent
    if isinstance(error, StatusError):
        return error.status in _GATEWAY_TIMEOUTS
    return not isinstance(error, CallError) or isinstance(error, _BILLED_ERRORS)


def partial_reply(error: BaseException) -> Reply | None:
    """The part of the reply that a failed attempt received."""
    return error.partial if isinstance(error, CallError) and not isinstance(error, CircuitOpen) else None


def sum_charges(charges: Sequence[Charge]) -> Charge:
    """The sum of a call's charges. Its cost is None if the cost of a charge is unknown and has no bound."""
    usage: Usage | None = None
    cost, possible = ZERO, ZERO
    known = bounded = unknown = False
    for _, attempt_usage, attempt_cost, attempt_possible, _ in charges:
        if attempt_usage is not None:
            usage = attempt_usage if usage is None else usage + attempt_usage
        if attempt_cost is not None:
            known, cost = True, add(cost, attempt_cost)
        elif attempt_possible is not None:
            bounded, possible = True, add(possible, attempt_possible)
        else:
            unknown = True
    model, *_ = charges[-1]
    return model, usage, cost if known and not unknown else None, possible if bounded else None, None
