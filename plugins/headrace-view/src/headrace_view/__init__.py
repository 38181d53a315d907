"""View plugin for headrace: look into a bulk run while it goes and afterwards, and steer it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from headrace import hookimpl

if TYPE_CHECKING:
    import click

    from headrace.bulk import RunControl


@hookimpl
def headrace_run_context(control: RunControl) -> AbstractAsyncContextManager[None]:
    """Serve the control messages of a run."""
    from headrace_view.control.server import serve_control

    return serve_control(control)


@hookimpl
def headrace_commands(cli: click.Group) -> None:
    """Add the commands of this plugin."""
    from headrace_view.ctl import ctl
    from headrace_view.top.command import top
    from headrace_view.view import view

    cli.add_command(ctl)
    cli.add_command(top)
    cli.add_command(view)
