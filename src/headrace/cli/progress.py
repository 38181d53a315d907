"""Progress of a bulk run on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from headrace.bulk import Summary
from headrace.cli.report import duration, money
from headrace.client import Client
from headrace.model import Event

_BAR_EVERY = 0.1
_LINE_EVERY = 5.0


class Watcher:
    """Shows a `Summary` while it changes; as an observer of the client it counts retries as they happen."""

    name = "progress"

    def __init__(self, *, bar: bool) -> None:
        self._retries = 0
        self._open_circuits: set[str] = set()
        self._progress: Progress | None = None
        if bar:
            self._progress = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[state]}", markup=False),
                console=Console(stderr=True),
                auto_refresh=False,
                expand=True,
            )

    def notify(self, event: Event) -> None:
        """Take note of retries and of circuits that open and close."""
        if event.name == "retry":
            self._retries += 1
        elif event.name == "circuit":
            endpoint = str(event.data.get("endpoint"))
            if event.data.get("state") == "open":
                self._open_circuits.add(endpoint)
            else:
                self._open_circuits.discard(endpoint)

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self._progress is not None:
            self._progress.console.print(message, markup=False, highlight=False)
        else:
            click.echo(message, err=True)

    async def watch(self, summary: Summary, client: Client) -> None:
        """Show the summary until cancelled, and a last time then."""
        bar = self._progress
        task = bar.add_task("", total=summary.total, state="") if bar else None
        try:
            while True:
                if bar is not None and task is not None:
                    bar.update(task, completed=summary.done, state=self._state(summary, client), refresh=True)
                    await anyio.sleep(_BAR_EVERY)
                else:
                    await anyio.sleep(_LINE_EVERY)
                    self.say(self._state(summary, client))
        finally:
            if bar is not None and task is not None:
                bar.update(task, completed=summary.done, state=self._state(summary, client), refresh=True)

    def _state(self, summary: Summary, client: Client) -> str:
        parts = [f"{summary.done:,}/{summary.total:,}", f"{summary.rate:,.0f}/s"]
        failed = summary.failed_before + summary.failed
        parts.append(f"{failed:,} failed")
        parts.append(f"{self._retries:,} retries")
        parts.append(f"{client.in_flight:,} in flight")
        if summary.cost is not None:
            parts.append(money(summary.cost))
        if self._open_circuits:
            parts.append("circuit open")
        elif summary.rate and summary.left:
            parts.append(f"{duration(summary.left / summary.rate)} left")
        return " · ".join(parts)
