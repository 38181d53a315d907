"""OpenTelemetry plugin for headrace: traces and metrics by the semantic conventions for generative AI."""

import headrace
from headrace_otel.policy import Otel

__all__ = ["Otel"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the policy that traces and measures calls, configured by the section ``otel``."""
    return [settings.section("otel", Otel)]
