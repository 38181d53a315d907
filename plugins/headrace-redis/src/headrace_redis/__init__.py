"""Redis plugin for headrace: processes of one account share rate limits, circuits and a budget."""

import headrace
from headrace_redis.account import Account

__all__ = ["Account"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """Return the policies of an account, configured by the section ``redis``; none without a ``url``."""
    return settings.section("redis", Account).policies()
