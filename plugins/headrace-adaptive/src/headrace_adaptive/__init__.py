"""Adaptive concurrency for headrace: how many calls an endpoint gets at once follows its rate limits."""

import headrace
from headrace_adaptive.policy import Adaptive

__all__ = ["Adaptive"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The adaptive policy, with the settings of the section ``adaptive``; none where ``start`` is not set."""
    adaptive = settings.section("adaptive", Adaptive)
    return [] if adaptive.start is None else [adaptive]
