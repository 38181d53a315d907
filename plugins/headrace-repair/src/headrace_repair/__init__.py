"""Repair plugin for headrace: asks the model again when its answer does not match the requested type."""

import headrace
from headrace_repair.policy import Repair

__all__ = ["Repair"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the repair policy, configured by the section ``repair``."""
    return [settings.section("repair", Repair)]
