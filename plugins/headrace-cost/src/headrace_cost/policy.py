"""The cost policy: prices each reply, keeps the totals, guards the budget."""

from __future__ import annotations

import decimal
import logging
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import attrs

from headrace import AnswerError, BudgetExceeded, Call, Ending, Endpoint, Reply, Send, SettingsError, Stage
from headrace.settings import SHARED_FOLDER
from headrace_cost.budget import Budget
from headrace_cost.estimate import worst_case
from headrace_cost.ledger import Ledger
from headrace_cost.prices import ZERO, PriceList
from headrace_cost.totals import Totals

_log = logging.getLogger("headrace.cost")


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
    """Says what each reply cost, in USD as a `Decimal`, and stops calls that the budget does not cover.

    ``prices``: your own, before the list that comes with this package; USD a million tokens, as in
    ``{"my-model": {"input": "0.5", "output": "1.5", "cached": "0.1"}}``. ``budget``: USD that all calls
    together may cost (default: no limit); a call whose worst case it cannot cover fails with
    `BudgetExceeded` before it is sent, and waits first where calls in flight may yet leave enough. The
    processes of one bulk run share it.
    ``assumed_output_tokens``: reckoned with where a request limits its output to nothing (default 4096, or
    as many as the longest answer of that model had so far).

    The price is that of the model which the request names, by its name at the endpoint that answered
    (``"ENDPOINT/MODEL"`` in ``prices`` is for that endpoint alone), failing that of the one which the reply
    names.
    Where neither is known, or the endpoint reports no usage, the cost is None, never 0, and a warning says
    so once for each model. Raises `SettingsError` for a price or a budget that is no amount.
    """

    name: ClassVar[str] = "cost"
    stage: ClassVar[Stage] = Stage.ACCOUNT

    prices: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    budget: Decimal | None = attrs.field(default=None, converter=_amount, validator=_not_negative)
    assumed_output_tokens: int = attrs.field(default=4096, validator=_not_negative)
    _totals: Totals = attrs.field(factory=Totals, init=False, repr=False)
    _list: PriceList = attrs.field(init=False, repr=False)
    _longest: dict[str, int] = attrs.field(factory=dict, init=False, repr=False)
    _said: set[str] = attrs.field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._list = PriceList(self.prices)

    @property
    def totals(self) -> Totals:
        """What all replies so far used and cost, in all, by model and by tag."""
        return self._totals

    def estimate(
        self, model: str, prompt_tokens: int, output_tokens: int, endpoint: Endpoint | None = None
    ) -> Decimal | None:
        """What so many tokens of a model cost in USD, at an endpoint; None where its price is not known."""
        price = self._list.find(model) if endpoint is None else self._list.at((endpoint, model))
        return None if price is None else price.at_most(prompt_tokens, output_tokens)

    def wrap(self, send: Send) -> Send:
        """``send``, its replies priced; with a budget, only for calls that it covers."""
        if self.budget is not None:
            # Asked here and not when the policy is made: that may be in another process.
            shared = os.environ.get(SHARED_FOLDER)
            account = Budget(self.budget) if shared is None else Ledger(self.budget, Path(shared, "cost"))
            return self._within(account, send)

        async def price(call: Call) -> Reply:
            if len(call.endpoints) > 1:
                call.notes[self.name] = self.estimate  # for who chooses among them
            try:
                reply = await send(call)
            except AnswerError as error:  # it has to be paid all the same
                if error.partial is not None:
                    self._book(call, call.request.model, error.partial)
                raise
            if call.streamed:
                call.at_end(lambda ending: self._book(call, call.request.model, reply))
            else:
                self._book(call, call.request.model, reply)
            return reply

        return price

    def _within(self, account: Budget | Ledger, send: Send) -> Send:
        async def price_within_budget(call: Call) -> Reply:
            model = call.request.model
            if len(call.endpoints) > 1:
                call.notes[self.name] = self.estimate
            amount = ZERO if model is None else self._estimate(call, model)
            if not await account.reserve(amount):
                raise BudgetExceeded(
                    f"not sent: this call may cost {amount.normalize():f} USD, but of the budget of "
                    f"{account.limit} USD {account.spent.normalize():f} are spent"
                )
            try:
                reply = await send(call)
            except BaseException as error:
                cost = None
                if isinstance(error, AnswerError) and error.partial is not None:
                    self._book(call, model, error.partial)
                    cost = error.partial.cost
                account.settle(amount, cost or ZERO)  # ZERO: what a call that fails is taken to cost
                raise

            def settle(ending: Ending | None = None) -> None:
                self._book(call, model, reply)
                # An unknown cost counts as the worst one, or the budget might be overdrawn unseen.
                account.settle(amount, amount if reply.cost is None else reply.cost)
                if model is not None and reply.usage is not None:
                    self._longest[model] = max(
                        self._longest.get(model, 0), reply.usage.completion_tokens or 0
                    )

            if call.streamed:
                call.at_end(settle)
            else:
                settle()
            return reply

        return price_within_budget

    def _estimate(self, call: Call, model: str) -> Decimal:
        prices = [self._list.at((endpoint, model)) for endpoint in call.endpoints or (call.endpoint,)]
        if None in prices:
            raise BudgetExceeded(
                f"not sent: model {model!r} has no price, so no budget can be kept with it; add its price: "
                f"[cost.prices.{model!r}] input = …, output = … (USD a million tokens)"
            )
        output = max(self.assumed_output_tokens, self._longest.get(model, 0))
        return max(worst_case(call, price, output) for price in prices if price is not None)

    def _book(self, call: Call, model: str | None, reply: Reply) -> None:
        """Price a reply and add it to the totals.

        Nothing is awaited in here, so no other call comes between the reading of a sum and its writing:
        that, and no lock, is what keeps the totals exact with any number of calls in flight.
        """
        totals = self._totals
        if not call.attempts:
            # Nothing went over the wire: the reply is a cache's, and was paid for when it was first made.
            reply.cost = ZERO
            usage = None
        else:
            usage = reply.usage
            reply.cost = self._cost(call.endpoint, model, reply)
        model = model or reply.model
        if model is None:
            return  # neither side names a model: a list of models, a file; nothing to be paid by the token
        totals.by_model[model].add(usage, reply.cost)
        if call.request.tags:  # hardly ever; its items are a mapping's, which take four calls to be none
            for key, value in call.request.tags.items():
                totals.by_tag[f"{key}={value}"].add(usage, reply.cost)

    def _cost(self, endpoint: Endpoint, model: str | None, reply: Reply) -> Decimal | None:
        price = None if model is None else self._list.at((endpoint, model))
        if price is None and reply.model is not None:
            price = self._list.find(reply.model)
        if price is not None and reply.usage is not None:
            return price.cost(reply.usage)
        named = model or reply.model
        if named is not None and named not in self._said:
            self._said.add(named)
            why = "it has no price; add one under [cost.prices]" if price is None else "no usage is reported"
            _log.warning("the cost of model %r is unknown: %s", named, why)
        return None
