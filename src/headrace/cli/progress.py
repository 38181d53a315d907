"""The progress of a bulk run on stderr: a bar at a terminal, else plain lines."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import click

from headrace.bulk.progress import ClientEvents, Display, shown
from headrace.bulk.progress.choice import has_bar
from headrace.bulk.progress.display import TakeSnapshot
from headrace.bulk.progress.plain_lines import PlainLines
from headrace.bulk.progress.terminal_bar import TerminalBar


class ProgressDisplay(ClientEvents):
    """Shows a run at a terminal, and prints lines above the bar if there is one.

    Args:
        bar: Whether to show a bar if the terminal can.
        quiet: Whether nothing is printed.
    """

    def __init__(self, *, bar: bool, quiet: bool = False) -> None:
        super().__init__()
        self._quiet = quiet
        self._bar = TerminalBar() if bar and has_bar() else None

    def print_line(self, message: str) -> None:
        """Print a line, above the bar if there is one; quiet runs print none."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.print_line(message)
        else:
            click.echo(message, err=True)

    def shown(self, take_snapshot: TakeSnapshot) -> AbstractAsyncContextManager[None]:
        """Show the run while a block runs."""
        display: Display = self._bar or PlainLines(self.print_line, last=False)
        return shown(display, take_snapshot)
