"""The pricing of attempts: the most that one can cost before it is sent, and its charge afterwards."""

from __future__ import annotations

import logging
from decimal import Decimal

from headrace import BudgetExceeded, Call, Reply, StreamResult, Usage
from headrace.plugins import max_output_tokens, most_prompt_tokens
from headrace_cost.charges import NOTE_KEY, Charge, may_be_billed, partial_reply
from headrace_cost.price_lookup import PriceList, no_price_message
from headrace_cost.token_rates import ZERO, Price

_log = logging.getLogger("headrace.cost")

_MAX_MODELS = 1000
"""Maximum number of models with remembered state; a request may name any model."""


def output_limit(call: Call, assumed: int | None) -> int | None:
    """The most output tokens of a call: its own limit, or ``assumed`` without one. Embeddings have none."""
    if call.request.path.partition("?")[0] == "/embeddings":
        return 0
    return max_output_tokens(call.request.body or {}, assumed)


class AttemptPricer:
    """Prices attempts, and adds their charges to the notes of their calls.

    Args:
        price_list: The prices.
        assumed_output_tokens: Output tokens of a request without an output limit; the longest answer of its
            model so far, if that is longer.
        remember_longest: Whether to remember the longest answers; only a budget needs them.

    Attributes:
        remember_longest: As the argument; it can be set.
    """

    def __init__(self, price_list: PriceList, assumed_output_tokens: int, remember_longest: bool) -> None:
        self._price_list = price_list
        self._assumed_output_tokens = assumed_output_tokens
        self.remember_longest: bool = remember_longest
        self._longest: dict[str, int] = {}
        self._warned_models: set[str] = set()

    def reservation(self, call: Call) -> Decimal:
        """USD to reserve for an attempt: its worst case at the standard price and in its service tier.

        Raises:
            BudgetExceeded: The model has no price.
        """
        model = call.request.model
        if model is None:
            return ZERO
        price = self._price_list.find((call.endpoint, model, None))
        if price is None:
            raise BudgetExceeded(
                f"not sent: the budget cannot be enforced: {no_price_message(model, call.endpoint)}"
            )
        amount = self._worst_case(call, model, price)
        tier = (call.request.body or {}).get("service_tier")
        if isinstance(tier, str):
            price = self._price_list.find((call.endpoint, model, tier)) or price
            amount = max(amount, self._worst_case(call, model, price))
        return amount

    def assumed_output(self, model: str) -> int:
        """Output tokens that are assumed for a request without an output limit."""
        return max(self._assumed_output_tokens, self._longest.get(model, 0))

    def charge(self, call: Call, reply: Reply, result: StreamResult | None = None) -> Charge:
        """Charge the reply to an attempt; ``result`` is how its stream ended."""
        usage, model, tier = reply.usage, call.request.model, reply.service_tier
        price = None if model is None else self._price_list.find((call.endpoint, model, tier))
        if price is None and reply.model is not None:
            price = self._price_list.find((call.endpoint, reply.model, tier))
        if result is not None and not result.complete and not reply.content:
            usage = None  # the stream was passed through and cut off, so its counts may not be final
        charge: Charge
        if price is not None and usage is not None:
            charge = (model or reply.model, usage, price.cost(usage), None, None)
            if self.remember_longest and model is not None:
                self._remember_length(model, usage.completion_tokens)
        else:
            charge = self._unknown_charge(call, model or reply.model, price, usage)
        call.notes[NOTE_KEY].append(charge)
        return charge

    def charge_failure(self, call: Call, error: BaseException) -> Charge | None:
        """Charge an attempt that failed; None if it is not billed."""
        model = call.request.model
        if model is None or not may_be_billed(error):
            return None
        price = self._price_list.find((call.endpoint, model, None))
        partial = partial_reply(error)
        usage = None if partial is None else partial.usage
        charge: Charge
        if price is None:
            charge = (model, usage, None, None, error)
        elif usage is not None:
            charge = (model, usage, price.cost(usage), None, error)
        else:
            charge = (model, None, None, self._worst_case(call, model, price), error)
        call.notes[NOTE_KEY].append(charge)
        return charge

    def _worst_case(self, call: Call, model: str, price: Price) -> Decimal:
        """The most that an attempt can cost in USD.

        The prompt has at most as many tokens as the body has bytes, because a token is at least one byte. An
        image counts as the largest image, in the body or behind a URL. A file that the body only refers to
        is not covered. The output limit of the body, or the assumed output, counts ``n`` times.
        """
        output = output_limit(call, self.assumed_output(model))
        assert output is not None
        return price.worst_case(most_prompt_tokens(call.content), output, call.content)

    def _unknown_charge(
        self, call: Call, model: str | None, price: Price | None, usage: Usage | None
    ) -> Charge:
        """The charge for a reply of unknown cost; log a warning once per model."""
        if model is None:
            return None, usage, None, None, None  # neither names a model: a list of models, a file
        if model not in self._warned_models and len(self._warned_models) < _MAX_MODELS:
            self._warned_models.add(model)
            reason = no_price_message(model, call.endpoint) if price is None else "no usage is reported"
            _log.warning("the cost of model %r is unknown: %s", model, reason)
        return model, usage, None, None if price is None else self._worst_case(call, model, price), None

    def _remember_length(self, model: str, tokens: int | None) -> None:
        longest = self._longest
        if tokens and tokens > longest.get(model, 0) and (model in longest or len(longest) < _MAX_MODELS):
            longest[model] = tokens
