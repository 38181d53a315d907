"""Retries for headrace: exponential backoff with full jitter, and the waits that servers ask for."""

import headrace
from headrace_retry.policy import Retry

__all__ = ["Retry"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The retry policy, with the settings of the section ``retry``."""
    return [settings.section("retry", Retry)]
