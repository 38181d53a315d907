"""Enforcement of the budget for one attempt: its reservation, its refusal and its settlement."""

from __future__ import annotations

from decimal import Decimal

from headrace import BudgetExceeded, Call, Reply, StreamResult
from headrace_cost.attempt_pricing import AttemptPricer, output_limit
from headrace_cost.budget import BudgetAccount
from headrace_cost.charges import Charge
from headrace_cost.token_rates import ZERO
from headrace_cost.totals import Totals


async def reserve(account: BudgetAccount, amount: Decimal, call: Call) -> bool:
    """Wait for a reservation without holding the call's tokens; False if it can never fit."""
    granted = False
    try:
        async with call.waiting():
            granted = await account.reserve(amount, call.priority)
    except BaseException:
        if granted:  # the call was cancelled while it reacquired its tokens
            account.settle(amount, ZERO)
        raise
    return granted


def budget_exceeded(
    call: Call, amount: Decimal, account: BudgetAccount, pricer: AttemptPricer, totals: Totals
) -> BudgetExceeded:
    """The error for an attempt that can never fit into the budget."""
    reason, advice = "", "raise the budget"
    if output_limit(call, None) is None:
        assumed = pricer.assumed_output(call.request.model or "")
        reason = f" because no max_tokens is set ({assumed:,} output tokens are assumed)"
        advice += ", or set max_tokens"
    possible = totals.possible_cost
    uncertain = (
        f", up to {_format_usd(possible)} of it for attempts without a reply that may have been billed"
        if possible
        else ""
    )
    return BudgetExceeded(
        f"not sent: this call may cost {_format_usd(amount)} USD{reason}, but {_format_usd(account.spent)} "
        f"of the budget of {account.limit} USD are spent{uncertain} ({advice})"
    )


def amount_spent(charge: Charge, reserved: Decimal) -> Decimal:
    """What a charge takes from the budget; everything that was reserved if its cost has no bound."""
    _, _, cost, possible, _ = charge
    if cost is not None:
        return cost
    return reserved if possible is None else possible


def settle_stream(
    pricer: AttemptPricer,
    account: BudgetAccount,
    amount: Decimal,
    call: Call,
    reply: Reply,
    result: StreamResult,
) -> None:
    """Charge a stream that has ended, and settle its reservation."""
    account.settle(amount, amount_spent(pricer.charge(call, reply, result), amount))


def _format_usd(amount: Decimal) -> str:
    """An amount without trailing zeros."""
    return f"{amount.normalize():f}"
