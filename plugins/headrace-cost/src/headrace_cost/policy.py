"""The cost policy: prices each attempt, keeps the totals, guards the budget."""

from __future__ import annotations

import decimal
import functools
import logging
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
    Usage,
)
from headrace.plugins import SHARED_FOLDER, max_output_tokens
from headrace_cost.budget import Account, Budget
from headrace_cost.charges import NOTE, Charge, may_be_billed, partial_reply, total
from headrace_cost.live import live_catalogue
from headrace_cost.prices import PriceList
from headrace_cost.rates import ZERO, Price
from headrace_cost.totals import Totals

_log = logging.getLogger("headrace.cost")

_MOST_MODELS = 1000
"""Models of which something is remembered; a request may name any."""


def _not_negative(instance: Any, attribute: attrs.Attribute[Any], value: Decimal | int | None) -> None:
    if value is not None and value < 0:
        raise SettingsError(f"cost: {attribute.name}={value}: must be at least 0")


def _amount(value: Decimal | int | float | str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        # By way of text: a float of 0.1 means one tenth, not the binary fraction next to it.
        amount = Decimal(str(value))
    except decimal.InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise SettingsError(f"cost: budget={value!r}: must be an amount in USD")
    return amount


@attrs.define(eq=False, kw_only=True)
class Cost:
    """Says what each call cost, in USD as a `Decimal`, and stops calls that the budget does not cover.

    A call costs what all its attempts cost, also those that were repaired or whose answer was no good. An
    attempt whose answer did not come (a timeout, the loser of a hedge) may have been billed: what it cost at
    most is its ``possible_cost``, and counts against the budget.

    The price is that of the endpoint and of the model that the request names, by its name there; failing
    that, of the model that the reply names. Where neither is known, or the endpoint reports no usage, the
    cost is None, never 0, and a warning says so once for each model.

    Args:
        prices: Your own prices, which come before the published ones, by ``"MODEL"`` or ``"ENDPOINT/MODEL"``.
            USD a million tokens for ``input`` and ``output``, and if they differ from these for ``cached``,
            ``cache_write``, ``cache_write_1h``, ``input_audio``, ``input_image``, ``output_audio``,
            ``output_image`` and ``reasoning``; USD a thousand calls for ``requests``.
        budget: USD that all calls through this policy may cost (default: no limit). An attempt whose worst
            case it cannot cover fails with `BudgetExceeded` before it is sent, and waits first where others
            in flight may yet leave enough. The processes of one bulk run share it.
        assumed_output_tokens: Reserved where a request does not limit its output (default 4096, or the
            longest answer of that model so far).
        live: Take the published prices from the installed genai-prices (default: from the list that comes
            with this package).

    Raises:
        SettingsError: A price or a budget is not an amount, or ``live`` lacks its library.
    """

    name = "cost"
    stage = Stage.ACCOUNT

    prices: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    budget: Decimal | None = attrs.field(default=None, converter=_amount, validator=_not_negative)
    assumed_output_tokens: int = attrs.field(default=4096, validator=_not_negative)
    live: bool = False
    _totals: Totals = attrs.field(factory=Totals, init=False, repr=False)
    _list: PriceList = attrs.field(init=False, repr=False)
    _account: Account | None = attrs.field(default=None, init=False, repr=False)
    _longest: dict[str, int] = attrs.field(factory=dict, init=False, repr=False)
    _said: set[str] = attrs.field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        catalogue = live_catalogue() if self.live else None
        self._list = PriceList(self.prices, catalogue, refreshed=self.live)

    @property
    def totals(self) -> Totals:
        """What all calls so far used and cost, in all, by model and by tag."""
        return self._totals

    @property
    def spent(self) -> Decimal:
        """USD of the budget that are spent, also by earlier sessions of a run; 0 without a budget."""
        return ZERO if self._account is None else self._account.spent

    def estimate(
        self, model: str, prompt_tokens: int, output_tokens: int, endpoint: Endpoint
    ) -> Decimal | None:
        """What so many tokens of a model cost in USD at an endpoint; None where its price is not known."""
        price = self._list.at((endpoint, model, None))
        return None if price is None else price.at_most(prompt_tokens, output_tokens)

    def resume(self, spent: Decimal) -> None:
        """Take at least so much of the budget as spent; a run that is resumed says so.

        The processes of a run know it from their shared folder.
        """
        account = self._open_account()
        if isinstance(account, Budget):
            account.resume(spent)

    def reset(self) -> None:
        """Go on in a new event loop: what attempts of the ended one had reserved counts as spent."""
        if self._account is not None:
            self._account = self._account.successor()

    def wrap(self, send: Send) -> Send:
        """``send``, its calls counted with the charges of all their attempts."""

        async def count(call: Call) -> Reply:
            # What is sent for this call, by whomever, is charged to this list: notes are shared by hedges.
            charges: list[Charge] = []
            call.notes[NOTE] = charges
            if len(call.endpoints) > 1:
                call.notes[self.name] = self.estimate  # for a policy that chooses among them
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
        """``send``, each attempt charged; with a budget, only attempts that it covers are sent."""
        if self._open_account() is not None:
            return self._within(send)

        async def charge(call: Call) -> Reply:
            begun = call.attempts
            try:
                reply = await send(call)
            except BaseException as error:
                if call.attempts > begun:
                    self._charge_failure(call, error)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(self._charge_stream, call, reply))
            elif call.attempts > begun:  # else a policy further in has answered by itself
                self._charge(call, reply)
            return reply

        return charge

    def _within(self, send: Send) -> Send:
        async def charge_within_budget(call: Call) -> Reply:
            account = self._account
            assert account is not None
            begun = call.attempts
            amount = self._reservation(call)
            granted = account.reserve_nowait(amount, call.priority)
            if granted is None:
                granted = await _reserve(account, amount, call)
            if not granted:
                raise self._refusal(call, amount, account)
            cost = ZERO
            try:
                reply = await send(call)
                if not call.streamed and call.attempts > begun:
                    cost = _to_book(self._charge(call, reply), amount)
            except BaseException as error:
                if call.attempts > begun:
                    charge = self._charge_failure(call, error)
                    if charge is not None:
                        cost = _to_book(charge, amount)
                account.settle(amount, cost)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(self._settle, account, amount, call, reply))
            else:
                account.settle(amount, cost)
            return reply

        return charge_within_budget

    def _charge_stream(self, call: Call, reply: Reply, result: StreamResult) -> None:
        self._charge(call, reply, result)

    def _settle(
        self, account: Account, amount: Decimal, call: Call, reply: Reply, result: StreamResult
    ) -> None:
        account.settle(amount, _to_book(self._charge(call, reply, result), amount))

    def _open_account(self) -> Account | None:
        """The account of this policy, for all clients that have it."""
        if self.budget is None:
            return None
        # Looked for here and not when the policy is made: that may have been in another process.
        shared = os.environ.get(SHARED_FOLDER)
        if shared is not None:
            from headrace_cost.ledger import Ledger  # it needs fcntl, which Windows does not have

            if not isinstance(self._account, Ledger):
                self._account = Ledger(self.budget, Path(shared, "cost"))
        elif self._account is None:
            self._account = Budget(self.budget)
        return self._account

    # Before an attempt is sent.

    def _reservation(self, call: Call) -> Decimal:
        """What is to be reserved for an attempt: the worst case at the ordinary price, and in its tier."""
        model = call.request.model
        if model is None:
            return ZERO
        price = self._list.at((call.endpoint, model, None))
        if price is None:
            raise BudgetExceeded(f"not sent: no budget can be kept: {no_price(model, call.endpoint)}")
        amount = self._worst(call, model, price)
        tier = (call.request.body or {}).get("service_tier")
        if isinstance(tier, str):
            price = self._list.at((call.endpoint, model, tier)) or price
            amount = max(amount, self._worst(call, model, price))
        return amount

    def _worst(self, call: Call, model: str, price: Price) -> Decimal:
        """The most that an attempt can cost in USD.

        Its prompt has at most as many tokens as its body has bytes, because a token stands for at least one.
        That bounds all that is in the body, and nothing the body only points to (an image's address, a
        file's id). Its output is bounded by the limit in the body, or else assumed, and comes ``n`` times.
        """
        output = max_output_tokens(call.request.body or {}, self._assumed(model))
        assert output is not None
        return price.at_most(len(call.content), output, call.content)

    def _assumed(self, model: str) -> int:
        """Output tokens that are assumed where a request does not limit them."""
        return max(self.assumed_output_tokens, self._longest.get(model, 0))

    def _refusal(self, call: Call, amount: Decimal, account: Account) -> BudgetExceeded:
        because, advice = "", "raise the budget"
        if max_output_tokens(call.request.body or {}, None) is None:
            assumed = self._assumed(call.request.model or "")
            because = f" because no max_tokens is set ({assumed:,} output tokens are assumed)"
            advice += ", or set max_tokens"
        possible = self._totals.possible_cost
        uncertain = (
            f", up to {usd(possible)} of it for attempts that may have been billed though no answer came"
            if possible
            else ""
        )
        return BudgetExceeded(
            f"not sent: this call may cost {usd(amount)} USD{because}, but of the budget of "
            f"{account.limit} USD {usd(account.spent)} are spent{uncertain} ({advice})"
        )

    # After it.

    def _charge(self, call: Call, reply: Reply, result: StreamResult | None = None) -> Charge:
        """Price the reply to an attempt; ``result`` is how its stream ended."""
        usage, model, tier = reply.usage, call.request.model, reply.service_tier
        price = None if model is None else self._list.at((call.endpoint, model, tier))
        if price is None and reply.model is not None:
            price = self._list.at((call.endpoint, reply.model, tier))
        if result is not None and not result.complete and not reply.content:
            usage = None  # a stream that was only passed on, and cut off: its counts may not be the last
        charge: Charge
        if price is not None and usage is not None:
            charge = (model or reply.model, usage, price.cost(usage), None, None)
            if self._account is not None and model is not None:
                self._remember_length(model, usage.completion_tokens)
        else:
            charge = self._unknown(call, model or reply.model, price, usage)
        call.notes[NOTE].append(charge)
        return charge

    def _unknown(self, call: Call, model: str | None, price: Price | None, usage: Usage | None) -> Charge:
        """The charge for a reply of unknown cost."""
        if model is None:
            return None, usage, None, None, None  # neither side names a model: a list of models, a file
        if model not in self._said and len(self._said) < _MOST_MODELS:
            self._said.add(model)
            why = no_price(model, call.endpoint) if price is None else "no usage is reported"
            _log.warning("the cost of model %r is unknown: %s", model, why)
        return model, usage, None, None if price is None else self._worst(call, model, price), None

    def _charge_failure(self, call: Call, error: BaseException) -> Charge | None:
        """Note what an attempt that failed has to be paid for, or may have to be; None where it has not."""
        model = call.request.model
        if model is None or not may_be_billed(error):
            return None
        price = self._list.at((call.endpoint, model, None))
        partial = partial_reply(error)
        usage = None if partial is None else partial.usage
        charge: Charge
        if price is None:
            charge = (model, usage, None, None, error)
        elif usage is not None:
            charge = (model, usage, price.cost(usage), None, error)
        else:
            charge = (model, None, None, self._worst(call, model, price), error)
        call.notes[NOTE].append(charge)
        return charge

    def _remember_length(self, model: str, tokens: int | None) -> None:
        longest = self._longest
        if tokens and tokens > longest.get(model, 0) and (model in longest or len(longest) < _MOST_MODELS):
            longest[model] = tokens

    # After all attempts of a call.

    def _count_failed(self, call: Call, charges: list[Charge], error: BaseException) -> CallError | None:
        """Count a call that failed; returns the error to be raised in place of a refused further attempt."""
        if not charges:
            return None
        instead: CallError | None = None
        if isinstance(error, BudgetExceeded):
            # Something was paid for already: how that failed is what became of this call.
            failures = [failure for *_, failure in charges if isinstance(failure, CallError)]
            if failures:
                instead = failures[-1]
                instead.args = (f"{instead}; not tried again: {error}", *instead.args[1:])
        charge, told = total(charges), instead or error
        if isinstance(told, CallError):
            _, _, told.cost, told.possible_cost, _ = charge
            if told.partial is not None:
                told.partial.cost, told.partial.possible_cost = told.cost, told.possible_cost
        self._totals.add(call.request.tags, *charge[:4])
        return instead

    def _count(
        self, call: Call, charges: list[Charge], reply: Reply, result: StreamResult | None = None
    ) -> None:
        """Put the cost of all attempts on the reply, and add it to the totals.

        Nothing is awaited in here, so no other call comes between the reading of a sum and its writing:
        that, and no lock, is what keeps the totals exact with any number of calls in flight.
        """
        if len(charges) == 1:
            model, usage, cost, possible, _ = charges[0]
        elif charges:
            model, usage, cost, possible, _ = total(charges)
        else:
            # Nothing was sent: the reply is a cache's, and was paid for when it was first made.
            model, usage, cost, possible = call.request.model or reply.model, None, ZERO, None
        reply.cost, reply.possible_cost = cost, possible
        self._totals.add(call.request.tags, model, usage, cost, possible)


async def _reserve(account: Account, amount: Decimal, call: Call) -> bool:
    granted = False
    try:
        async with call.waiting():
            granted = await account.reserve(amount, call.priority)
    except BaseException:
        if granted:  # cancelled while it took its tokens again
            account.settle(amount, ZERO)
        raise
    return granted


def no_price(model: str, endpoint: Endpoint) -> str:
    """Why a cost is unknown, and what to do about it."""
    return (
        f"model {model!r} has no price at {endpoint.name}; add one: [cost.prices.{model!r}] input = …, "
        "output = … (USD a million tokens)"
    )


def usd(amount: Decimal) -> str:
    """An amount without the zeros at its end."""
    return f"{amount.normalize():f}"


def _to_book(charge: Charge, reserved: Decimal) -> Decimal:
    """What of the budget a charge takes: where nothing is known of its cost, all that was reserved."""
    _, _, cost, possible, _ = charge
    if cost is not None:
        return cost
    return reserved if possible is None else possible
