"""Pace plugin for headrace: sends calls at the rate that an endpoint allows."""

import headrace
from headrace_pace.pace_state import PaceState
from headrace_pace.policy import Pace

__all__ = ["Pace", "PaceState"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the pace policy, configured by the section ``pace``."""
    return [settings.section("pace", Pace)]
