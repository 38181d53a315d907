"""What `headrace top` shows of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headrace.bulk import RateHistory, failure_rows, status_rows
from headrace.plugins import format_duration, format_rate, shortened

_STATE_STYLES = {"running": "green", "waiting": "yellow", "paused": "yellow", "stopping": "yellow"}
_WARNINGS = ("Waiting", "Circuit", "Stopped by")
_MOST_FAILURES = 8
_SPARKS = 30
_NARROW = 80
"""Columns below which the list has only the state and the share of what is done."""

_OTHER_COLUMNS = {True: 22, False: 64}
"""Columns of the list without the output, in a narrow and in a wide terminal."""


def run_screen(
    status: Mapping[str, Any], history: RateHistory, *, width: int, unicode: bool = True
) -> RenderableType:
    """A run as a screen: its state, a bar, the rows of its status, and its failures.

    Args:
        status: The status of the run.
        history: Its rate over time.
        width: The columns of the terminal.
        unicode: Whether the terminal can show the characters of the sparkline.
    """
    rows = Table.grid(padding=(0, 2, 0, 0), expand=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, text in status_rows(status):
        shown = text
        if name == "Rate" and (now := history.now) is not None and status.get("state") != "ended":
            # Name, padding, and both rates need 45 columns.
            sparks = f"{history.sparkline(min(_SPARKS, width - 45))} " if unicode else ""
            shown = f"{format_rate(now)} now {sparks}{text}"
        rows.add_row(Text(name), Text(shown, style="yellow" if name in _WARNINGS else ""))
    parts: list[RenderableType] = [_heading(status), _bar(status), rows]
    failures = failure_rows(status)
    if failures:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(style="red", overflow="ellipsis", no_wrap=True, max_width=width * 2 // 3)
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        for kind, message in failures[:_MOST_FAILURES]:
            table.add_row(Text(kind), Text(message))
        parts += [Text("Failures of this session", style="bold"), table]
        if more := len(failures) - _MOST_FAILURES:
            parts += [Text(f"and {more:,} more kinds", style="dim")] if more > 0 else []
    return Group(*parts)


def runs_screen(runs: Sequence[Mapping[str, Any]], *, width: int) -> RenderableType:
    """The runs that are alive, as a list."""
    narrow = width < _NARROW
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    columns = (
        ["Output", "State", "Done"] if narrow else ["Output", "State", "Items", "Rate", "Failed", "Left"]
    )
    for name in columns:
        table.add_column(name, no_wrap=True)
    for status in runs:
        failed = (status.get("failed_before") or 0) + (status.get("failed") or 0)
        left = status.get("time_left")
        cells = {
            "Output": Text(_end_of_path(str(status.get("out")), width - _OTHER_COLUMNS[narrow])),
            "State": _state(status),
            "Done": Text(_share(status) or f"{status.get('done') or 0:,}"),
            "Items": Text(" ".join(filter(None, (_counts(status), _share(status))))),
            "Rate": Text(format_rate(status.get("rate") or 0.0)),
            "Failed": Text(f"{failed:,}", style="red" if failed else ""),
            "Left": Text(format_duration(left) if left else ""),
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def _heading(status: Mapping[str, Any]) -> RenderableType:
    heading = Table.grid(expand=True, padding=(0, 2, 0, 0))
    heading.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
    heading.add_column(no_wrap=True)
    heading.add_column(no_wrap=True, justify="right")
    taken = status.get("time")
    clock = "" if taken is None else f"{datetime.fromtimestamp(taken):%H:%M:%S}"
    heading.add_row(
        Text(shortened(str(status.get("out")), 300), style="bold"), _state(status), Text(clock, style="dim")
    )
    return heading


def _state(status: Mapping[str, Any]) -> Text:
    state = shortened(str(status.get("state")), 20)
    return Text(state, style=_STATE_STYLES.get(state, ""))


def _bar(status: Mapping[str, Any]) -> RenderableType:
    share = _share(status)
    if not share:
        return Text()
    bar = Table.grid(expand=True, padding=(0, 1, 0, 0))
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    bar.add_row(ProgressBar(total=status["total"], completed=status.get("done") or 0), Text(share))
    return bar


def _share(status: Mapping[str, Any]) -> str:
    """How much is done in percent; empty if the number of items is not known."""
    total = status.get("total") or 0
    return f"{(status.get('done') or 0) / total:.0%}" if total and status.get("counted", True) else ""


def _counts(status: Mapping[str, Any]) -> str:
    more = "" if status.get("counted", True) else "+"
    return f"{status.get('done') or 0:,}/{status.get('total') or 0:,}{more}"


def _end_of_path(path: str, room: int) -> str:
    """The end of a path, which tells more than its begin."""
    text = shortened(path, 1000)
    return text if len(text) <= room else f"…{text[len(text) - room + 1 :]}"
