"""View plugin for headrace: look into a bulk run while it goes and afterwards, and steer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def headrace_commands(cli: click.Group) -> None:
    """Add the commands of this plugin."""
    from headrace_view.top.command import top

    cli.add_command(top)
