"""A response cache in an SQLite file, for headrace."""

import headrace
from headrace_cache.policy import Cache

__all__ = ["Cache"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The cache policy, with the settings of the section ``cache``; none if ``path`` is not set."""
    cache = settings.section("cache", Cache)
    if cache.path is not None:
        return [cache]
    if "cache" in (settings.core.policies or ()):
        raise headrace.SettingsError(
            "cache: path is not set; set it to a file, or remove 'cache' from policies"
        )
    return []
