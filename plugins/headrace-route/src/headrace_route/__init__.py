"""For headrace: spreads calls over several endpoints, and goes to another where one fails."""

import headrace
from headrace_route.policy import Route

__all__ = ["Route"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The route policy, with the settings of the section ``route``; none where there is nothing to choose."""
    route = settings.section("route", Route)
    endpoints = settings.core.endpoints
    return [route] if len(endpoints) > 1 or any(each.max_in_flight for each in endpoints) else []
