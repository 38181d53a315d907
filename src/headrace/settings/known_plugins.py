"""The plugins that are published with headrace, for errors about a missing one."""

from __future__ import annotations

_PLUGINS = frozenset(
    {
        "adaptive",
        "batch",
        "breaker",
        "cache",
        "cost",
        "hedge",
        "logging",
        "otel",
        "pace",
        "ray",
        "redis",
        "repair",
        "retry",
        "route",
        "view",
    }
)


def missing_plugin(name: str) -> str | None:
    """The distribution to install for the plugin called ``name``; None if it is unknown or installed."""
    import importlib.util  # only for an error message, and not with `import headrace`

    if name not in _PLUGINS or importlib.util.find_spec(f"headrace_{name}") is not None:
        return None
    return f"headrace-{name}"
