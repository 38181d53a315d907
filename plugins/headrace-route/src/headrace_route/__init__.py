"""Route plugin for headrace: spreads calls over several endpoints, and fails over when one fails."""

import headrace
from headrace_route.policy import Route

__all__ = ["Route"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the route policy, configured by the section ``route``; none if there is nothing to select."""
    route = settings.section("route", Route)
    endpoints = settings.core.endpoints
    if route.rules:
        # An invalid rule is an error when the client is made.
        route.targets(endpoints or [headrace.Endpoint(settings.core.base_url)])
    elif len(endpoints) < 2 and not any(each.max_in_flight for each in endpoints):
        return []
    return [route]
