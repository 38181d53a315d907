"""Progress for programs: a function that gets the totals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot


class ProgressCallback:
    """Calls a function with the snapshot when the totals have changed, and at the end; see `Display`."""

    first: float = 0.0
    interval: float = 0.1

    def __init__(self, function: Callable[[RunSnapshot], object]) -> None:
        self._function = function
        self._reported: tuple[Any, ...] = ()
        self._has_failed = False

    def show(self, run: RunSnapshot) -> None:
        """See `Display`."""
        now = (run.done, run.total, run.counted, run.waiting)
        if now != self._reported:
            self._reported = now
            self._call(run)

    def finish(self, run: RunSnapshot) -> None:
        """See `Display`; a function that has raised is not called again."""
        if not self._has_failed:
            self._call(run)

    def _call(self, run: RunSnapshot) -> None:
        self._has_failed = True
        self._function(run)
        self._has_failed = False
