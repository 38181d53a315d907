"""For headrace: one rate limit, one view of circuits, one budget for all processes that use an account."""

import headrace
from headrace_redis.account import Account

__all__ = ["Account"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The policies of an account, with the settings of the section ``redis``; none without a ``url``."""
    return settings.section("redis", Account).policies()
