"""For headrace: asks the model again where its answer is not of the type that was asked for."""

import headrace
from headrace_repair.policy import Repair

__all__ = ["Repair"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The repair policy, with the settings of the section ``repair``."""
    return [settings.section("repair", Repair)]
