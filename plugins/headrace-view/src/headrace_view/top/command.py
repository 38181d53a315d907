"""`headrace top`: shows a bulk run while it goes on, in a terminal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from headrace_view.control import ControlClient

_TIMEOUT = 1.0
"""Seconds for the reply of a run in the list."""


@click.command(short_help="Show a run that goes on, in a terminal.")
@click.argument("out", metavar="[OUT.jsonl]", type=click.Path(), required=False)
def top(out: str | None) -> None:
    """Show the run that writes to OUT.jsonl while it goes on: progress, rate, latency, cost, what it waits
    for, and what fails. Without OUT.jsonl, list your runs that are alive on this machine.

    When the run ends, its last totals stay on the screen. q and Ctrl-C leave, and do not touch the run. If no
    run is alive, the totals of the output are shown once. If the output of top is not a terminal, one look is
    printed.

    \b
    Examples:
      headrace top answers.jsonl
      headrace top
    """
    from rich.console import Console

    from headrace_view.control import NoRunError, connect
    from headrace_view.control.runtime_folder import socket_folders
    from headrace_view.top.alive_runs import alive_runs
    from headrace_view.top.watch import watch_run, watch_runs

    console = Console(highlight=False)
    if out is None:
        watch_runs(lambda: alive_runs(socket_folders(), _connect), console)
    else:
        watch_run(out, partial(connect, out), NoRunError, console)


def _connect(path: Path) -> ControlClient:
    import socket

    from headrace_view.control import ControlClient

    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_TIMEOUT)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return ControlClient(connection, path, _TIMEOUT)
