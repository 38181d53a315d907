"""The most that a call can cost, known before it is sent."""

from __future__ import annotations

from decimal import Decimal

from headrace import Call
from headrace.requests import most_output
from headrace_cost.prices import Price


def worst_case(call: Call, price: Price, assumed_output_tokens: int) -> Decimal:
    """The most that ``call`` can cost in USD.

    Its prompt has at most as many tokens as its body has bytes, because a token stands for at least one.
    That bounds all that is in the body, and nothing the body only points to (an image's address, a file's
    id). Its output is bounded by the limit in the body, or else taken to be ``assumed_output_tokens``, and
    comes ``n`` times.
    """
    output = most_output(call.request.body or {}, assumed_output_tokens)
    assert output is not None
    return price.at_most(len(call.content), output)
