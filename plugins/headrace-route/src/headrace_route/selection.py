"""Selection of the endpoint for an attempt; pure functions."""

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

Strategy: TypeAlias = Literal["order", "weight", "least_in_flight", "cost"]

_REJECTED_STATUSES = frozenset({401, 403, 404})
"""The endpoint does not know the key or the model; another endpoint may."""

_ENDPOINT_ERRORS = (CircuitOpen, ConnectError, RateLimited, ServerError)
"""Errors of one endpoint, whether retryable there or not."""


def select_endpoint(
    by: Strategy,
    endpoints: Sequence[Endpoint],
    in_flight: Mapping[Endpoint, int],
    cost: Callable[[Endpoint], Decimal | None],
    rng: random.Random,
) -> Endpoint:
    """Return the endpoint for the next attempt; of equal ones, the first.

    Args:
        by: "order": the first. "weight": random, by weight. "least_in_flight": the one with the fewest calls
            in flight relative to its weight. "cost": the cheapest; endpoints without a price come last.
        endpoints: The endpoints with a free slot; not empty.
        in_flight: Calls in flight at each endpoint.
        cost: Returns the cost of the call at an endpoint, None if it has no price.
        rng: Draws by weight.
    """
    if by == "order" or len(endpoints) == 1:
        return endpoints[0]
    if by == "weight":
        return rng.choices(endpoints, [endpoint.weight for endpoint in endpoints])[0]
    if by == "least_in_flight":
        # The lowest load including this call; among idle endpoints, the highest weight.
        return min(endpoints, key=lambda endpoint: (in_flight[endpoint] + 1) / endpoint.weight)
    costs = [cost(endpoint) for endpoint in endpoints]
    known = [each for each in costs if each is not None]
    return endpoints[costs.index(min(known)) if known else 0]


def has_capacity(endpoint: Endpoint, in_flight: int) -> bool:
    """Return whether an endpoint's own limit allows one more call."""
    return endpoint.max_in_flight is None or in_flight < endpoint.max_in_flight


def can_fail_over(error: CallError) -> bool:
    """Return whether another endpoint may answer after this error.

    True if a retry could help, and if this endpoint fails, cannot be reached, has no credit left, or does not
    know the key or the model. False if the request itself, or the answer, is the cause.
    """
    if isinstance(error, StatusError) and (error.status in _REJECTED_STATUSES or error.limit == "quota"):
        return True
    if isinstance(error, LocalResourceError):  # affects connections to any endpoint
        return False
    return error.retryable or isinstance(error, _ENDPOINT_ERRORS)


def error_to_raise(errors: Sequence[CallError]) -> CallError:
    """Return the error to raise when every endpoint failed.

    This is the last error of an attempt. If all circuits are open, it is the one that closes first.
    """
    attempted = [error for error in errors if not isinstance(error, CircuitOpen)]
    if attempted:
        return attempted[-1]
    return min(errors, key=lambda error: error.retry_after if isinstance(error, CircuitOpen) else 0.0)
