"""Adaptive concurrency for headrace: the number of concurrent calls follows the endpoint's rate limits."""

import headrace
from headrace_adaptive.policy import Adaptive

__all__ = ["Adaptive"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The adaptive policy, with the settings of the section ``adaptive``; none if ``start`` is not set."""
    adaptive = settings.section("adaptive", Adaptive)
    return [] if adaptive.start is None else [adaptive]
