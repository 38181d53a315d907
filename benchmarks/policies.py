"""headrace's four policies, as they come: what is measured has all of them on."""

from __future__ import annotations

from headrace import Policy
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_retry import Retry


def all_four() -> list[Policy]:
    """Logging (at the standard library's default level), cost, retry and breaker."""
    return [Logging(), Cost(), Retry(), Breaker()]
