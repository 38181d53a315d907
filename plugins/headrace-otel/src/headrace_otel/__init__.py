"""OpenTelemetry traces and metrics for headrace, by the semantic conventions for generative AI."""

import headrace
from headrace_otel.policy import Otel

__all__ = ["Otel"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The policy that traces and measures calls, with the settings of the section ``otel``."""
    return [settings.section("otel", Otel)]
