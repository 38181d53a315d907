"""Progress for programs: a function that gets the totals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.bulk.progress.run_state import RunState
from headrace.bulk.summary import Summary


class ProgressCallback:
    """Calls a function with a copy of the totals when they have changed, and at the end; see `Display`."""

    first: float = 0.0
    interval: float = 0.1

    def __init__(self, function: Callable[[Summary], object]) -> None:
        self._function = function
        self._reported: tuple[Any, ...] = ()
        self._has_failed = False

    def show(self, state: RunState) -> None:
        """See `Display`."""
        summary = state.summary
        now = (summary.done, summary.total, summary.counted, summary.waiting)
        if now != self._reported:
            self._reported = now
            self._call(summary)

    def finish(self, state: RunState) -> None:
        """See `Display`; a function that has raised is not called again."""
        if not self._has_failed:
            self._call(state.summary)

    def _call(self, summary: Summary) -> None:
        self._has_failed = True
        self._function(summary.snapshot())
        self._has_failed = False
