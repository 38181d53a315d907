"""The totals of a run as a table in a notebook, which changes while the run goes on."""

from __future__ import annotations

from typing import Any

from headrace.bulk.progress.run_state import RunState


class NotebookTable:
    """An output of the cell that is replaced with newer totals; see `Display`.

    Args:
        show_output: IPython's ``display``.
    """

    first: float = 0.0
    interval: float = 0.5

    def __init__(self, show_output: Any) -> None:
        self._show_output = show_output
        self._output: Any = None
        self._shown = ""

    def show(self, state: RunState) -> None:
        """See `Display`."""
        snapshot = state.summary.snapshot()
        text = snapshot._repr_html_()
        if self._output is None:
            self._output = self._show_output(snapshot, display_id=True)
        elif text != self._shown:
            self._output.update(snapshot)
        self._shown = text

    finish = show
