"""What one attempt has to be paid for, and whether one that failed has to be paid at all."""

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
from headrace_cost.rates import ZERO, add

NOTE = "cost.charges"
"""What the list of charges is called in the notes of a call."""

_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
"""Statuses by which a gateway says that it waited no longer; the model behind it may have gone on."""

_ANSWERED = (AnswerError, InvalidReply, ProtocolError, ReplyTooLarge, PolicyError)


Charge: TypeAlias = tuple[str | None, Usage | None, Decimal | None, Decimal | None, BaseException | None]
"""One attempt, as a tuple because each call has one: its model; its tokens; its cost in USD where that is
known; what it may have cost at most where it is not known, None where no bound is known either; and how it
failed, None for a reply."""


def may_be_billed(error: BaseException) -> bool:
    """Whether an attempt that was begun and failed so may have to be paid.

    Not what the endpoint refused, and not what never reached it whole. A cancelled attempt may be billed:
    most endpoints go on with it.
    """
    if isinstance(error, CallTimeout):
        return error.phase not in {"connect", "write"}
    if isinstance(error, ConnectError):
        return error.sent
    if isinstance(error, StatusError):
        return error.status in _GATEWAY_TIMEOUTS
    return not isinstance(error, CallError) or isinstance(error, _ANSWERED)


def partial_reply(error: BaseException) -> Reply | None:
    """What was received of an answer that was no good."""
    return error.partial if isinstance(error, CallError) and not isinstance(error, CircuitOpen) else None


def total(charges: Sequence[Charge]) -> Charge:
    """All charges of a call as one. Its cost is None where one of them is unknown without a bound."""
    usage: Usage | None = None
    cost, possible = ZERO, ZERO
    known = bounded = unknown = False
    for _, used, its_cost, at_most, _ in charges:
        if used is not None:
            usage = used if usage is None else usage + used
        if its_cost is not None:
            known, cost = True, add(cost, its_cost)
        elif at_most is not None:
            bounded, possible = True, add(possible, at_most)
        else:
            unknown = True
    model, *_ = charges[-1]
    return model, usage, cost if known and not unknown else None, possible if bounded else None, None
