"""Ray plugin for headrace: bulk runs on Ray Data, by `headrace run --engine ray` or `map_dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace import hookimpl

if TYPE_CHECKING:
    from headrace_ray.dataset import map_dataset
    from headrace_ray.engine import RayEngine
    from headrace_ray.results import read_results

__all__ = ["map_dataset", "read_results"]


@hookimpl
def headrace_engines() -> list[RayEngine]:
    """Return the engine ``ray``."""
    from headrace_ray.engine import RayEngine

    return [RayEngine()]


def __getattr__(name: str) -> Any:
    # Importing Ray takes a second or more, and every headrace client imports its plugins.
    if name == "map_dataset":
        from headrace_ray.dataset import map_dataset

        return map_dataset
    if name == "read_results":
        from headrace_ray.results import read_results

        return read_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
