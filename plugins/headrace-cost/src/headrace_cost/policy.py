"""The cost policy: charges each attempt, keeps the totals and enforces the budget."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from headrace import (
    BudgetExceeded,
    Call,
    CallError,
    Endpoint,
    Reply,
    Send,
    SettingsError,
    Stage,
    StreamResult,
)
from headrace.plugins import SHARED_FOLDER, parse_usd
from headrace_cost.attempt_pricing import AttemptPricer
from headrace_cost.batch_prices import BatchPrices
from headrace_cost.budget import BudgetAccount, LocalBudget
from headrace_cost.budget_enforcement import amount_spent, budget_exceeded, reserve, settle_stream
from headrace_cost.charges import NOTE_KEY, Charge, sum_charges
from headrace_cost.live_prices import live_catalogue
from headrace_cost.price_lookup import PriceList
from headrace_cost.token_rates import ZERO, add
from headrace_cost.totals import Totals

_NO_LIMIT = Decimal("Infinity")


def _validate_not_negative(
    instance: Any, attribute: attrs.Attribute[Any], value: Decimal | int | None
) -> None:
    if value is not None and value < 0:
        raise SettingsError(f"cost: {attribute.name}={value}: must be at least 0")


def _convert_amount(value: Decimal | int | float | str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return parse_usd(value)
    except ValueError as error:
        raise SettingsError(f"cost: budget={error}") from None


@attrs.define(eq=False, kw_only=True)
class Cost:
    """Prices calls in USD, and refuses calls that the budget does not cover.

    The cost of a call includes all its attempts, also those with an invalid answer. An attempt without a
    reply (a timeout, the loser of a hedge) may have been billed: its highest possible cost is its
    ``possible_cost``, and counts as spent.

    The price is that of the endpoint and the model that the request names, or else of the model that the
    reply names. If neither has a price, or the endpoint reports no usage, the cost is None, never 0, and a
    warning is logged once per model.

    Args:
        prices: Your own prices by ``"MODEL"`` or ``"ENDPOINT/MODEL"``; they come before the published ones.
            USD per million tokens for ``input`` and ``output``; optional for ``cached``, ``cache_write``,
            ``cache_write_1h``, ``input_audio``, ``input_image``, ``output_audio``, ``output_image`` and
            ``reasoning``; USD per thousand calls for ``requests``.
        budget: USD that all calls through this policy may cost together (default None: no limit). An attempt
            waits while its worst case does not fit beside those in flight, and fails with `BudgetExceeded`
            if it can never fit. All processes of a bulk run share the budget.
        assumed_output_tokens: Output tokens reserved for a request without an output limit (default 4096, or
            the longest answer of that model so far).
        live: Use the prices of the installed genai-prices (default False: those in this package).

    Raises:
        SettingsError: A price or the budget is not an amount, or ``live`` is set without genai-prices.

    Example:
        >>> cost = Cost(budget="12.50")
        >>> client = headrace.Client(policies=[cost])
        >>> cost.totals.cost
        Decimal('0')
    """

    name = "cost"
    stage = Stage.ACCOUNT

    prices: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    budget: Decimal | None = attrs.field(
        default=None, converter=_convert_amount, validator=_validate_not_negative
    )
    assumed_output_tokens: int = attrs.field(default=4096, validator=_validate_not_negative)
    live: bool = False
    _totals: Totals = attrs.field(factory=Totals, init=False, repr=False)
    _price_list: PriceList = attrs.field(init=False, repr=False)
    _pricer: AttemptPricer = attrs.field(init=False, repr=False)
    _account: BudgetAccount | None = attrs.field(default=None, init=False, repr=False)
    _spent_before: Decimal = attrs.field(default=ZERO, init=False, repr=False)
    _has_free_batches: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        catalogue = live_catalogue() if self.live else None
        self._price_list = PriceList(self.prices, catalogue, refreshed=self.live)
        self._pricer = AttemptPricer(
            self._price_list, self.assumed_output_tokens, remember_longest=self.budget is not None
        )

    @property
    def totals(self) -> Totals:
        """What all calls so far used and cost: in total, by model and by tag."""
        return self._totals

    @property
    def spent(self) -> Decimal:
        """USD of the budget that are spent, including earlier sessions of a run; 0 without a budget."""
        return ZERO if self._account is None else self._account.spent

    def estimate(
        self, model: str, prompt_tokens: int, output_tokens: int, endpoint: Endpoint
    ) -> Decimal | None:
        """The most that a call with these numbers of tokens costs in USD; None if the price is unknown."""
        price = self._price_list.find((endpoint, model, None))
        return None if price is None else price.worst_case(prompt_tokens, output_tokens)

    def batch_prices(self) -> BatchPrices:
        """Prices for calls that an endpoint makes in a batch; they share the totals and the budget."""
        account = self._open_account()
        self._has_free_batches = account is None
        return BatchPrices(self._price_list, self._totals, account, self.assumed_output_tokens)

    def resume(self, spent: Decimal) -> None:
        """Count at least ``spent`` USD of the budget as spent; a resumed run calls this.

        The processes of a run read the amount from their shared folder instead.
        """
        self._spent_before = max(self._spent_before, spent)
        account = self._open_account()
        if isinstance(account, LocalBudget):
            account.resume(spent)

    def adjustable_limits(self) -> dict[str, str | None]:
        """The budget, which can be changed while a bulk run goes on; see `headrace.bulk.AdjustableLimits`."""
        return {"budget": None if self.budget is None else f"{self.budget:f}"}

    def set_limit(self, name: str, value: Decimal | float | str | None) -> None:
        """Change the budget, in USD; None for no limit.

        A budget that is set first while calls are made counts what they have cost so far, but not attempts
        that are on the wire then.

        Raises:
            SettingsError: It is not an amount, or batches were begun without a budget.
        """
        if self._has_free_batches and self.budget is None and value is not None:
            raise SettingsError(
                "cost: this run was begun without a budget, and its batches have reserved none; stop it, and "
                "continue it with a budget"
            )
        is_first = self._account is None
        self.budget = value  # type: ignore[assignment] # the converter takes it
        self._pricer.remember_longest = self.budget is not None
        account = self._open_account()
        if account is None:
            return
        account.change_limit(_NO_LIMIT if self.budget is None else self.budget)
        if is_first:
            self.resume(self._spent_before)
            account.settle(ZERO, add(self._totals.cost, self._totals.possible_cost))

    def reset(self) -> None:
        """Prepare for a new event loop; what attempts of the ended one had reserved counts as spent."""
        if self._account is not None:
            self._account = self._account.successor()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with the charges of all attempts counted for each call."""

        async def count(call: Call) -> Reply:
            # Attempts of all policies charge this list: hedged requests share the notes.
            charges: list[Charge] = []
            call.notes[NOTE_KEY] = charges
            if len(call.endpoints) > 1:
                call.notes[self.name] = self.estimate  # for a policy that chooses an endpoint
            try:
                reply = await send(call)
            except BaseException as error:
                earlier = self._count_failed(call, charges, error)
                if earlier is not None:
                    raise earlier from error
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(self._count, call, charges, reply))
            else:
                self._count(call, charges, reply)
            return reply

        return count

    def wrap_attempt(self, send: Send) -> Send:
        """Return ``send`` with each attempt charged; with a budget, only attempts that it covers are sent."""
        within_budget = self._open_account() is not None
        pricer = self._pricer

        async def charge(call: Call) -> Reply:
            if self.budget is not None and self._account is not None:  # one was set meanwhile
                return await charge_within_budget(call)
            attempts = call.attempts
            try:
                reply = await send(call)
            except BaseException as error:
                if call.attempts > attempts:
                    pricer.charge_failure(call, error)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(_charge_stream, pricer, call, reply))
            elif call.attempts > attempts:  # otherwise an inner policy answered without an attempt
                charged = pricer.charge(call, reply)
                if self._account is not None:
                    self._account.settle(ZERO, amount_spent(charged, ZERO))
            return reply

        async def charge_within_budget(call: Call) -> Reply:
            account = self._account
            if self.budget is None or account is None:  # it was lifted meanwhile
                return await charge(call)
            attempts = call.attempts
            amount = pricer.reservation(call)
            granted = account.reserve_nowait(amount, call.priority)
            if granted is None:
                granted = await reserve(account, amount, call)
            if not granted:
                raise budget_exceeded(call, amount, account, pricer, self._totals)
            cost = ZERO
            try:
                reply = await send(call)
                if not call.streamed and call.attempts > attempts:
                    cost = amount_spent(pricer.charge(call, reply), amount)
            except BaseException as error:
                if call.attempts > attempts:
                    charge_of_failure = pricer.charge_failure(call, error)
                    if charge_of_failure is not None:
                        cost = amount_spent(charge_of_failure, amount)
                account.settle(amount, cost)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(settle_stream, pricer, account, amount, call, reply))
            else:
                account.settle(amount, cost)
            return reply

        return charge_within_budget if within_budget else charge

    def _open_account(self) -> BudgetAccount | None:
        """The account of this policy, which all its clients share; None if it never had a budget."""
        if self.budget is None:
            return self._account
        # Not opened when the policy is made, because that may happen in another process.
        shared = os.environ.get(SHARED_FOLDER)
        if shared is not None:
            from headrace_cost.shared_ledger import Ledger  # it needs fcntl, which Windows does not have

            if not isinstance(self._account, Ledger):
                self._account = Ledger(self.budget, Path(shared, "cost"))
        elif self._account is None:
            self._account = LocalBudget(self.budget)
        return self._account

    def _count_failed(self, call: Call, charges: list[Charge], error: BaseException) -> CallError | None:
        """Count a call that failed; return the error to raise if the budget refused a further attempt."""
        if not charges:
            return None
        earlier: CallError | None = None
        if isinstance(error, BudgetExceeded):
            # Earlier attempts were made, so their error is the result of this call.
            failures = [failure for *_, failure in charges if isinstance(failure, CallError)]
            if failures:
                earlier = failures[-1]
                earlier.args = (f"{earlier}; not tried again: {error}", *earlier.args[1:])
        charge, raised = sum_charges(charges), earlier or error
        if isinstance(raised, CallError):
            _, _, raised.cost, raised.possible_cost, _ = charge
            if raised.partial is not None:
                raised.partial.cost, raised.partial.possible_cost = raised.cost, raised.possible_cost
        self._totals.add(call.request.tags, *charge[:4])
        return earlier

    def _count(
        self, call: Call, charges: list[Charge], reply: Reply, result: StreamResult | None = None
    ) -> None:
        """Set the cost of all attempts on the reply, and add it to the totals.

        This awaits nothing, so no other call runs between the read and the write of a sum. That keeps the
        totals exact without a lock, with any number of calls in flight.
        """
        if len(charges) == 1:
            model, usage, cost, possible, _ = charges[0]
        elif charges:
            model, usage, cost, possible, _ = sum_charges(charges)
        else:
            # Nothing was sent: the reply comes from a cache, and was paid for by an earlier call.
            model, usage, cost, possible = call.request.model or reply.model, None, ZERO, None
        reply.cost, reply.possible_cost = cost, possible
        self._totals.add(call.request.tags, model, usage, cost, possible)


def _charge_stream(pricer: AttemptPricer, call: Call, reply: Reply, result: StreamResult) -> None:
    pricer.charge(call, reply, result)
