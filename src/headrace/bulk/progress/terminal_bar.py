"""A progress bar at a terminal; needs rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from headrace.bulk.progress.run_words import activity, items_done, time_left, wait_reason

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot


class TerminalBar:
    """A bar on stderr, and below it what the run is doing; see `Display`."""

    first: float = 0.0
    interval: float = 0.1

    def __init__(self) -> None:
        self._bar = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            expand=True,
        )
        self._task = self._bar.add_task("", total=0, done="", left="")
        self._live = Live(console=Console(stderr=True), auto_refresh=False)

    def print_line(self, message: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(message, markup=False, highlight=False)

    def show(self, run: RunSnapshot) -> None:
        """See `Display`."""
        self._live.start()  # does nothing if it was started
        why = wait_reason(run)
        done, total = items_done(run), None
        if run.counted:  # without a total, the bar moves to and fro
            share = run.done / run.total if run.total else 0
            done, total = f"{share:>4.0%}  {done}", run.total
        self._bar.update(
            self._task,
            completed=run.done,
            total=total,
            done=done,
            left="waiting" if why else time_left(run),
        )
        lines = [Text(activity(run), no_wrap=True, overflow="ellipsis")]
        if why:
            lines.append(Text(f"waiting: {why}"))
        self._live.update(Group(self._bar, *lines), refresh=True)

    def finish(self, run: RunSnapshot) -> None:
        """See `Display`; the bar stays on the screen as it is then."""
        try:
            self.show(run)
        finally:
            self._live.stop()
