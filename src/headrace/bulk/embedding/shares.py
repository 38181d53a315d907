"""Shares of a batch's tokens and cost for its rows, in proportion to their texts; their sum is the whole."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import accumulate

_FEWEST_DIGITS = 15
"""Decimal places of a share. A cost with more of them keeps its own."""


def integer_shares(whole: int, weights: Sequence[int]) -> list[int]:
    """Shares of a whole number; each differs from the exact share by less than 1.

    Args:
        whole: What is shared.
        weights: The weight of each share, all above 0.
    """
    total = sum(weights)
    ends = [whole * weight // total for weight in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def cost_shares(cost: Decimal | None, weights: Sequence[int]) -> list[Decimal | None]:
    """Shares of a cost in USD; all None if it is unknown."""
    if cost is None or not cost.is_finite():
        return [cost] * len(weights)
    exponent = cost.as_tuple().exponent
    assert isinstance(exponent, int)
    digits = max(_FEWEST_DIGITS, -exponent)
    with localcontext(prec=200):
        return [
            Decimal(share).scaleb(-digits).normalize()
            for share in integer_shares(int(cost.scaleb(digits)), weights)
        ]
