"""Prices of calls in a batch: those of the endpoint's tier ``batch``, or half of the usual ones."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from headrace import Endpoint, Reply
from headrace_cost.budget import BudgetAccount
from headrace_cost.price_lookup import PriceList
from headrace_cost.token_rates import ZERO, Price, subtract
from headrace_cost.totals import Totals

_TIER = "batch"
_USUAL_SHARE, _LISTED_SHARE = Decimal("0.5"), Decimal(1)
"""The share to pay of the usual price, if an endpoint lists no price of batches, and that of a listed one."""


class BatchPrices:
    """Prices batches, and reserves budget for them.

    Args:
        price_list: The prices.
        totals: Where charges are counted.
        account: The budget; None for no limit.
        assumed_output_tokens: Output tokens of a request without an output limit.
    """

    def __init__(
        self, price_list: PriceList, totals: Totals, account: BudgetAccount | None, assumed_output_tokens: int
    ) -> None:
        self._price_list = price_list
        self._totals = totals
        self._account = account
        self.assumed_output_tokens: int = assumed_output_tokens

    def estimate(
        self, model: str, prompt_tokens: int, output_tokens: int, endpoint: Endpoint
    ) -> Decimal | None:
        """The most that a call with these numbers of tokens costs in USD; None if the price is unknown."""
        price, share = self._find(model, endpoint)
        return None if price is None else price.worst_case(prompt_tokens, output_tokens) * share

    def charge(
        self,
        reply: Reply,
        model: str | None,
        endpoint: Endpoint,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Set the cost of a reply from a batch, and count it in the totals.

        Args:
            reply: The reply.
            model: The model that the request names.
            endpoint: Where the batch was.
            tags: The tags of the request.
        """
        usage, cost = reply.usage, None
        for name in (model, reply.model):
            price, share = (None, _USUAL_SHARE) if name is None else self._find(name, endpoint)
            if price is not None and usage is not None:
                cost = price.cost(usage) * share
                break
        reply.cost = cost
        self._totals.add(tags, model or reply.model, usage, cost, None)

    def _find(self, model: str, endpoint: Endpoint) -> tuple[Price | None, Decimal]:
        """The price that applies, and the share of it that is to pay."""
        usual = self._price_list.find((endpoint, model, None))
        listed = self._price_list.find((endpoint, model, _TIER))
        # Without a price of the tier, the list returns the usual one.
        if listed is None or listed is usual or listed == usual:  # comparing two prices takes 1 µs
            return usual, _USUAL_SHARE
        return listed, _LISTED_SHARE

    def reserve_nowait(self, amount: Decimal) -> bool | None:
        """Reserve an amount; False if it can never fit into the budget, None if it may fit later."""
        return True if self._account is None else self._account.reserve_nowait(amount)

    def reserve_always(self, amount: Decimal) -> None:
        """Reserve an amount that is already owed, even beyond the budget."""
        if self._account is not None:
            self._account.reserve_always(amount)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Release a reservation, and record what was spent."""
        if self._account is not None:
            self._account.settle(amount, cost)

    @property
    def left(self) -> Decimal | None:
        """USD of the budget that are not spent; None without a budget."""
        return (
            None if self._account is None else max(ZERO, subtract(self._account.limit, self._account.spent))
        )
