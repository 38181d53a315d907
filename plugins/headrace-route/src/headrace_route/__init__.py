"""For headrace: spreads calls over several endpoints, and goes to another where one fails."""

import headrace
from headrace_route.policy import Route

__all__ = ["Route"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The route policy, with the settings of the section ``route``; none where there is nothing to choose."""
    route = settings.section("route", Route)
    endpoints = settings.core.endpoints
    if route.rules:
        # A rule that names nothing shows at the start.
        route.targets(endpoints or [headrace.Endpoint(settings.core.base_url)])
    elif len(endpoints) < 2 and not any(each.max_in_flight for each in endpoints):
        return []
    return [route]
