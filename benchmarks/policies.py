"""The policies of headrace[standard]."""

from __future__ import annotations

from headrace import Policy
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route


def standard_policies() -> list[Policy]:
    """All of them with default settings; logging at the standard library's default level."""
    return [Logging(), Cost(), Repair(), Retry(), Route(), Breaker(), Pace()]


def policies_without_pauses() -> list[Policy]:
    """The same for endpoints that fail often: with short delays, and without pace, which would pause."""
    return [
        Logging(),
        Cost(),
        Repair(),
        Retry(base=0.01),
        Route(by="least_in_flight"),
        Breaker(open_for=0.5),
    ]
