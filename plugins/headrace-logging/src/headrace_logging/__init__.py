"""Structured logging for headrace, through the standard library's ``logging``."""

import headrace
from headrace_logging.policy import Logging

__all__ = ["Logging"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The logging policy, with the settings of the section ``logging``."""
    return [settings.section("logging", Logging)]
