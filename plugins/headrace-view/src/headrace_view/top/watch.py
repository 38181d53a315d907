"""The loop of `headrace top`: asks a run for its status, and shows it, until it ends or a key is pressed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from headrace import InputError
from headrace.bulk import RateHistory, read_status
from headrace.plugins import shortened
from headrace_view.top.keys import pressed_keys
from headrace_view.top.screen import run_screen, runs_screen

INTERVAL = 1.0
_LEAVE = ("q", "Q")
_HINT = "q leaves; the {} on"
_LONGEST_MESSAGE = 1000
_DUMB_TERMINALS = ("dumb", "unknown")


class StatusClient(Protocol):
    """The part of a control client that is needed."""

    def status(self) -> dict[str, Any]:
        """The status of the run."""


Connect = Callable[[], AbstractContextManager[StatusClient]]


def watch_run(
    out: str | os.PathLike[str],
    connect: Connect,
    no_run: type[Exception],
    console: Console,
    *,
    interval: float = INTERVAL,
) -> None:
    """Show a run until it ends; once, if it is not alive or the output is not a terminal.

    Args:
        out: The output of the run.
        connect: Connects to the run.
        no_run: The error of a run that is not alive.
        console: Where it is shown.
        interval: Seconds between two looks.
    """
    history = RateHistory()
    last: dict[str, Any] = {}

    def look(client: StatusClient) -> RenderableType | None:
        if last.get("state") == "ended":
            return None
        try:
            last.update(client.status())
        except no_run:
            if not last:
                raise
            return None
        history.add(last.get("time") or 0.0, last.get("done") or 0)
        return _run(last, history, console)

    try:
        with connect() as client:
            if not _is_live(console):
                console.print(look(client))
                return
            ended = _refresh(lambda: look(client), console, interval, _HINT.format("run goes"))
    except no_run as error:
        status = _read(out, console)
        console.print(_run(status, history, console))
        console.print(Text(shortened(str(error), _LONGEST_MESSAGE), style="yellow"))
        return
    if not ended:
        return
    try:
        last.update(_final(last, _read(out, console)))
    except InputError:  # a run on a shared file system that is not here, or one of no item
        last["state"] = "ended"
    console.print(_run(last, history, console))
    console.print(Text("The run has ended."))


def watch_runs(
    find_runs: Callable[[], Sequence[Mapping[str, Any]]], console: Console, *, interval: float = INTERVAL
) -> None:
    """Show the runs that are alive until a key is pressed, or none is alive.

    Args:
        find_runs: Returns the status of each run that is alive.
        console: Where it is shown.
        interval: Seconds between two looks.
    """
    seen = 0

    def look() -> RenderableType | None:
        nonlocal seen
        runs = find_runs()
        seen = max(seen, len(runs))
        return runs_screen(runs, width=console.width) if runs else None

    if not _is_live(console):
        shown = look()
        if shown is not None:
            console.print(shown)
    elif not _refresh(look, console, interval, _HINT.format("runs go")):
        return
    if not seen:
        console.print("No run is alive that takes control messages.")
    elif _is_live(console):
        console.print("The runs have ended.")


def _refresh(look: Callable[[], RenderableType | None], console: Console, interval: float, hint: str) -> bool:
    """Show what ``look`` returns until it is None, then return True; False if the user has left."""
    shown = look()
    if shown is None:
        return True
    try:
        with pressed_keys() as wait, Live(console=console, screen=True, auto_refresh=False) as live:
            while shown is not None:
                live.update(Group(shown, Text(hint, style="dim")), refresh=True)
                if wait(interval) in _LEAVE:
                    return False
                shown = look()
    except KeyboardInterrupt:
        return False
    return True


def _run(status: Mapping[str, Any], history: RateHistory, console: Console) -> RenderableType:
    return run_screen(
        status, history, width=console.width, unicode=console.encoding.lower().startswith("utf")
    )


def _read(out: str | os.PathLike[str], console: Console) -> dict[str, Any]:
    """The totals of the output; reading a large one takes a while."""
    if not _is_live(console):
        return read_status(out)
    with console.status("Reading the output"):
        return read_status(out)


def _final(last: Mapping[str, Any], read: Mapping[str, Any]) -> dict[str, Any]:
    """The totals that were read, and what only the run knows: its time, its input, and why it has stopped."""
    kept = ("total", "counted", "elapsed", "rate", "steps", "samples", "stopped_by", "limits")
    final = {**read, **{name: last[name] for name in kept if name in last}, "out": last.get("out")}
    return {**final, "failed_before": 0, "waiting": "", "circuits": {}, "engine_status": ""}


def _is_live(console: Console) -> bool:
    return console.is_terminal and os.environ.get("TERM", "").lower() not in _DUMB_TERMINALS
