"""Retry plugin for headrace: exponential backoff with full jitter, and `Retry-After`."""

import headrace
from headrace_retry.policy import Retry

__all__ = ["Retry"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the retry policy, configured by the section ``retry``."""
    return [settings.section("retry", Retry)]
