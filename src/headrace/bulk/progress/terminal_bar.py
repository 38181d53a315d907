"""A progress bar at a terminal; needs rich."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from headrace.bulk.progress.run_state import RunState


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

    def show(self, state: RunState) -> None:
        """See `Display`."""
        self._live.start()  # does nothing if it was started
        summary, why = state.summary, state.wait_reason
        done, total = state.done, None
        if summary.counted:  # without a total, the bar moves to and fro
            share = summary.done / summary.total if summary.total else 0
            done, total = f"{share:>4.0%}  {done}", summary.total
        self._bar.update(
            self._task,
            completed=summary.done,
            total=total,
            done=done,
            left="waiting" if why else state.time_left,
        )
        lines = [Text(state.activity, no_wrap=True, overflow="ellipsis")]
        if why:
            lines.append(Text(f"waiting: {why}"))
        self._live.update(Group(self._bar, *lines), refresh=True)

    def finish(self, state: RunState) -> None:
        """See `Display`; the bar stays on the screen as it is then."""
        try:
            self.show(state)
        finally:
            self._live.stop()
