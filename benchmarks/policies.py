"""headrace's policies, as they come."""

from __future__ import annotations

from headrace import Policy
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route


def all_four() -> list[Policy]:
    """Logging (at the standard library's default level), cost, retry and breaker."""
    return [Logging(), Cost(), Retry(), Breaker()]


def standard() -> list[Policy]:
    """All that headrace[standard] brings, so quick to try again that faults cost no time."""
    return [
        Logging(),
        Cost(),
        Repair(),
        Retry(base=0.01),
        Route(by="least_in_flight"),
        Breaker(open_for=0.5),
    ]
