"""For headrace: calls at the rate that an endpoint allows, by settings and by what its answers say."""

import headrace
from headrace_pace.lane import State
from headrace_pace.policy import Pace

__all__ = ["Pace", "State"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The pace policy, with the settings of the section ``pace``."""
    return [settings.section("pace", Pace)]
