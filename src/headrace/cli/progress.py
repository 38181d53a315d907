"""The progress of a bulk run on stderr: a bar at a terminal, else plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from headrace._support.units import format_duration, format_usd
from headrace.bulk import Summary
from headrace.bulk.executor import Executor
from headrace.calls import Event

_BAR_INTERVAL = 0.1
_LINE_INTERVAL = 5.0
_LONGEST_REASON = 300
"""Characters of the reason why a run waits."""


class ProgressDisplay:
    """Shows a `Summary` while it changes. It is an observer of the client too, and counts retries."""

    name = "progress"

    def __init__(self, *, bar: bool, quiet: bool = False) -> None:
        self._quiet = quiet
        self._retries = 0
        self._open_circuits: dict[str, str] = {}
        self._live: Live | None = None
        if bar:
            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%  {task.completed:,}/{task.total:,}"),
                TextColumn("{task.fields[left]}", markup=False),
                expand=True,
            )
            self._task = self._bar.add_task("", total=0, left="")
            self._live = Live(console=Console(stderr=True), auto_refresh=False)

    def notify(self, event: Event) -> None:
        """Note retries, and circuits that open or close."""
        self.on_event(event.name, event.data)

    def on_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Note an event of the client or of a worker process; see `notify`."""
        if name == "retry":
            self._retries += 1
        elif name == "circuit":
            endpoint = str(data.get("endpoint"))
            if data.get("state") == "open":
                self._open_circuits[endpoint] = str(
                    data.get("because") or f"the circuit of {endpoint} is open"
                )
            else:
                self._open_circuits.pop(endpoint, None)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def print_line(self, message: str) -> None:
        """Print a line, above the bar if there is one; quiet runs print none."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            click.echo(message, err=True)

    async def watch(self, summary: Summary, executor: Executor) -> None:
        """Show the summary until cancelled, and once more at the end."""
        try:
            while True:
                if self._live is not None:
                    self._draw(self._live, summary, executor)
                    await anyio.sleep(_BAR_INTERVAL)
                else:
                    await anyio.sleep(_LINE_INTERVAL)
                    done = f"{summary.done:,}/{summary.total:,}"
                    why = self._wait_reason(summary)
                    left = f"waiting: {why}" if why else self._left(summary)
                    self.print_line(f"{done} · {self._state(summary, executor)} · {left}")
        finally:
            if self._live is not None:
                self._draw(self._live, summary, executor)

    def _draw(self, live: Live, summary: Summary, executor: Executor) -> None:
        self._bar.update(self._task, completed=summary.done, total=summary.total, left=self._left(summary))
        shown = [Text(self._state(summary, executor), no_wrap=True, overflow="ellipsis")]
        if why := self._wait_reason(summary):
            shown.append(Text(f"waiting: {why}"))
        live.update(Group(self._bar, *shown), refresh=True)

    def _state(self, summary: Summary, executor: Executor) -> str:
        parts = [
            f"{summary.rate:,.0f}/s",
            f"{summary.failed_before + summary.failed:,} failed",
            f"{self._retries:,} retries",
            f"{executor.in_flight:,} in flight",
        ]
        if summary.cost is not None:
            parts.append(format_usd(summary.cost))
        if status := getattr(executor, "status", ""):
            parts.append(status)
        return " · ".join(parts)

    def _left(self, summary: Summary) -> str:
        if self._wait_reason(summary):
            return "waiting"
        if not summary.left or not summary.rate:
            return ""
        return f"{format_duration(summary.left / summary.rate)} left"

    def _wait_reason(self, summary: Summary) -> str:
        """Why nothing is sent, on one line; empty while calls are sent."""
        if not summary.waiting:
            return ""
        why = " ".join(next(iter(self._open_circuits.values()), summary.waiting).split())
        return why if len(why) <= _LONGEST_REASON else f"{why[: _LONGEST_REASON - 1]}…"
