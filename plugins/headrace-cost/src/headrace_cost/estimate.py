"""The most that a call can cost, known before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from headrace import Call
from headrace_cost.prices import Price

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def worst_case(call: Call, price: Price, assumed_output_tokens: int) -> Decimal:
    """The most that ``call`` can cost in USD.

    Its prompt has at most as many tokens as its body has bytes, because a token stands for at least one.
    That bounds all that is in the body, and nothing the body only points to (an image's address, a file's
    id). Its output is bounded by the limit in the body, or else taken to be ``assumed_output_tokens``, and
    comes ``n`` times.
    """
    body: Mapping[str, Any] = call.request.body or {}
    limits = [limit for limit in (_count(body.get(name)) for name in _LIMITS) if limit is not None]
    output = max(limits) if limits else assumed_output_tokens
    return price.at_most(len(call.content), output * max(1, _count(body.get("n")) or 1))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
