"""Batch plugin for headrace: bulk runs over the batch API of an endpoint, by the engine ``batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace import hookimpl

if TYPE_CHECKING:
    import click

    from headrace_batch.engine import BatchEngine

__all__ = ["BatchEngine"]


@hookimpl
def headrace_engines() -> list[BatchEngine]:
    """Return the engine ``batch``."""
    from headrace_batch.engine import BatchEngine

    return [BatchEngine()]


@hookimpl
def headrace_commands(cli: click.Group) -> None:
    """Add ``headrace batch``."""
    from headrace_batch.commands import batch

    cli.add_command(batch)


def __getattr__(name: str) -> Any:
    # Importing click takes a while, and every headrace client imports its plugins.
    if name == "BatchEngine":
        from headrace_batch.engine import BatchEngine

        return BatchEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
