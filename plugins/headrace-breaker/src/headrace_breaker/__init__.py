"""A circuit breaker for headrace: one circuit per endpoint, opened by failed or slow calls."""

import headrace
from headrace_breaker.policy import Breaker

__all__ = ["Breaker"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The breaker policy, with the settings of the section ``breaker``."""
    return [settings.section("breaker", Breaker)]
