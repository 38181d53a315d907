"""Which of several endpoints a try goes to; pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

from headrace import (
    CallError,
    CircuitOpen,
    ConnectError,
    Endpoint,
    LocalResourceError,
    RateLimited,
    ServerError,
    StatusError,
)

By: TypeAlias = Literal["order", "weight", "least_in_flight", "cost"]

_REFUSED = frozenset({401, 403, 404})
"""The key or the model is not known there, which says nothing about another endpoint."""

_FAILED_THERE = (CircuitOpen, ConnectError, RateLimited, ServerError)
"""Errors of one endpoint, also where it does not want the same request again."""


def choose(
    by: By,
    endpoints: Sequence[Endpoint],
    in_flight: Mapping[Endpoint, int],
    cost: Callable[[Endpoint], Decimal | None],
    rng: random.Random,
) -> Endpoint:
    """The endpoint that comes next, of those that have room; the earlier one where two are equal.

    ``order``: the first. ``weight``: drawn by their weights. ``least_in_flight``: the one with the fewest
    calls under way for its weight. ``cost``: the cheapest; those without a price come last.
    """
    if by == "order" or len(endpoints) == 1:
        return endpoints[0]
    if by == "weight":
        return rng.choices(endpoints, [endpoint.weight for endpoint in endpoints])[0]
    if by == "least_in_flight":
        # The one that would be the least loaded with this call: of idle ones, that with the most weight.
        return min(endpoints, key=lambda endpoint: (in_flight[endpoint] + 1) / endpoint.weight)
    costs = [cost(endpoint) for endpoint in endpoints]
    known = [each for each in costs if each is not None]
    return endpoints[costs.index(min(known)) if known else 0]


def has_room(endpoint: Endpoint, in_flight: int) -> bool:
    """Whether an endpoint's own limit leaves room for one call more."""
    return endpoint.max_in_flight is None or in_flight < endpoint.max_in_flight


def goes_elsewhere(error: CallError) -> bool:
    """Whether another endpoint may have an answer where one failed in this way.

    It may where a retry could help, where this endpoint fails, has no credit left or is not reached, and
    where it does not know the key or the model; not where the request itself, or the answer, is the trouble.
    """
    if isinstance(error, StatusError) and (error.status in _REFUSED or error.limit == "quota"):
        return True
    if isinstance(error, LocalResourceError):  # this machine has no connection to another one either
        return False
    return error.retryable or isinstance(error, _FAILED_THERE)


def told(errors: Sequence[CallError]) -> CallError:
    """The error that stands for all when each endpoint failed.

    The last that came of a try; or, where all circuits are open, the one that opens the soonest.
    """
    tried = [error for error in errors if not isinstance(error, CircuitOpen)]
    if tried:
        return tried[-1]
    return min(errors, key=lambda error: error.retry_after if isinstance(error, CircuitOpen) else 0.0)
