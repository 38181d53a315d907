"""Answers kept in an SQLite file, for headrace."""

import headrace
from headrace_cache.policy import Cache

__all__ = ["Cache"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The cache, with the settings of the section ``cache``; none where these name no ``path``."""
    cache = settings.section("cache", Cache)
    if cache.path is not None:
        return [cache]
    if "cache" in (settings.core.policies or ()):
        raise headrace.SettingsError("cache: no path= to a file; without one nothing is kept")
    return []
