"""headrace's policies: those that headrace[standard] brings."""

from __future__ import annotations

from headrace import Policy
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route


def standard() -> list[Policy]:
    """All of them, as they come; logging at the standard library's default level."""
    return [Logging(), Cost(), Repair(), Retry(), Route(), Breaker(), Pace()]


def without_pauses() -> list[Policy]:
    """The same for endpoints that fail often: quick to try again, and without pace, which would pause."""
    return [
        Logging(),
        Cost(),
        Repair(),
        Retry(base=0.01),
        Route(by="least_in_flight"),
        Breaker(open_for=0.5),
    ]
