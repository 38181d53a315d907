"""The money of batches: what they cost, and the part of the budget that is reserved for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

from headrace import BudgetExceeded, Client, Endpoint, Reply, Request
from headrace.plugins import estimate_prompt_tokens, max_output_tokens

ZERO = Decimal(0)


class BatchPrices(Protocol):
    """What headrace-cost does for batches; see `headrace_cost.Cost.batch_prices`."""

    @property
    def assumed_output_tokens(self) -> int: ...
    def estimate(
        self, model: str, prompt_tokens: int, output_tokens: int, endpoint: Endpoint
    ) -> Decimal | None: ...
    def charge(
        self, reply: Reply, model: str | None, endpoint: Endpoint, tags: Mapping[str, str]
    ) -> None: ...
    def reserve_nowait(self, amount: Decimal) -> bool | None: ...
    def reserve_always(self, amount: Decimal) -> None: ...
    def settle(self, amount: Decimal, cost: Decimal) -> None: ...
    @property
    def left(self) -> Decimal | None: ...


def batch_prices(client: Client) -> BatchPrices | None:
    """The prices of batches; None if no policy of the client has them."""
    for policy in client.policies:
        make = getattr(policy, "batch_prices", None)
        if make is not None:
            prices: BatchPrices = make()
            return prices
    return None


def price_of(client: Client) -> Callable[[str, int, int], Decimal | None] | None:
    """A function that prices tokens of a model in a batch; None without prices."""
    prices = batch_prices(client)

    def cost(model: str, prompt_tokens: int, output_tokens: int) -> Decimal | None:
        endpoint = next((each for each in client.endpoints if each.serves(model)), None)
        if prices is None or endpoint is None:
            return None
        return prices.estimate(model, prompt_tokens, output_tokens, endpoint)

    return None if prices is None else cost


class RowNeeds(NamedTuple):
    """What a row needs at the endpoint, as estimated.

    Attributes:
        reserved: USD of the budget; 0 without prices.
        tokens: Prompt tokens; 0 if nothing depends on them.
    """

    reserved: Decimal
    tokens: int


_NOTHING = RowNeeds(ZERO, 0)


class PartMoney:
    """Reserves the estimated cost of parts, and settles it with what their rows have cost.

    Args:
        prices: The prices; None if nothing has a price.
        counts_tokens: Whether the tokens of rows matter without prices, too.
    """

    def __init__(self, prices: BatchPrices | None, *, counts_tokens: bool) -> None:
        self._prices = prices
        self._counts_tokens = counts_tokens

    def needs(self, request: Request, content: bytes, endpoint: Endpoint) -> RowNeeds:
        """What a row will probably need at most; ``content`` is the body of its request."""
        if self._prices is None and not self._counts_tokens:
            return _NOTHING
        tokens, model = estimate_prompt_tokens(content), request.model
        if self._prices is None or model is None:
            return RowNeeds(ZERO, tokens)
        output = max_output_tokens(request.body or {}, self._prices.assumed_output_tokens) or 0
        return RowNeeds(self._prices.estimate(model, tokens, output, endpoint) or ZERO, tokens)

    def reserve(self, amount: Decimal) -> bool:
        """Reserve an amount; False if it fits only after another part is settled.

        Raises:
            BudgetExceeded: It never fits.
        """
        granted = None if self._prices is None else self._prices.reserve_nowait(amount)
        if self._prices is None or granted:
            return True
        if granted is None:
            return False
        raise BudgetExceeded(
            f"not sent: a batch may cost {amount:.4f} USD, but only {self._prices.left:.4f} USD of the "
            "budget are left; raise the budget, set max_tokens, or make batches smaller with max_requests="
        )

    def reserve_always(self, amount: Decimal) -> None:
        """Reserve an amount for a batch that an earlier session has created, as far as the budget has it."""
        if self._prices is not None:
            self._prices.reserve_always(amount)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Release a reservation, and count what was spent."""
        if self._prices is not None:
            self._prices.settle(amount, cost)

    def charge(self, reply: Reply, model: str | None, endpoint: Endpoint, tags: Mapping[str, str]) -> Decimal:
        """Set the cost of an answer, and return it; 0 if it is unknown."""
        if self._prices is None:
            return ZERO
        self._prices.charge(reply, model, endpoint, tags)
        return reply.cost or ZERO
