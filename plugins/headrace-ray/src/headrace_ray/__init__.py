"""Bulk runs on Ray Data: `headrace run --engine ray`, and `map_dataset` for who has a dataset."""

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
    """The engine called ``ray``."""
    from headrace_ray.engine import RayEngine

    return [RayEngine()]


def __getattr__(name: str) -> Any:
    # Importing Ray takes a second or more, and every client of headrace's imports its plugins.
    if name == "map_dataset":
        from headrace_ray.dataset import map_dataset

        return map_dataset
    if name == "read_results":
        from headrace_ray.results import read_results

        return read_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
