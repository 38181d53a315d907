"""A live widget in a notebook: an output of the cell that changes while the run goes on.

It is HTML without a script, which is replaced with `update_display`. So it needs no extension of the
notebook, and a saved notebook shows the last state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import attrs

from headrace._support.text import shortened
from headrace._support.units import format_rate
from headrace.bulk.progress.rate_history import RateHistory
from headrace.bulk.progress.status_rows import failure_rows, status_is_alive, status_rows

if TYPE_CHECKING:
    from headrace.bulk.control.snapshot import RunSnapshot

_SPARKS = 24
_MOST_FAILURES = 5
_STYLE = (
    "<style>"
    ".headrace-run :is(th, td) { text-align: left; vertical-align: top; padding: .15em 1em .15em 0; }"
    ".headrace-run progress { width: 20em; max-width: 60%; }"
    "</style>"
)


@attrs.frozen
class RunView:
    """The state of a run at one moment, as HTML and as text.

    Args:
        status: The status of the run; see `status_rows`.
        history: Its rate over time.
    """

    status: Mapping[str, Any]
    history: RateHistory

    def __repr__(self) -> str:
        """The rows as lines, for a front end without HTML."""
        rows = [("State", self._state()), *self._rows(), *self._failures()]
        return "\n".join(f"{name}: {text}" for name, text in rows)

    def _repr_html_(self) -> str:
        """The state, a bar, and the rows as a table."""
        rows = [f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._rows()]
        rows += [
            f"<tr><th>Failures</th><td><b>{escape(kind)}</b> {escape(text)}</td></tr>"
            for kind, text in self._failures()
        ]
        heading = f"<b>{escape(self._state())}</b>{self._bar()}"
        return f'{_STYLE}<div class="headrace-run">{heading}<table>{"".join(rows)}</table></div>'

    def _state(self) -> str:
        return shortened(str(self.status.get("state")), 40)

    def _bar(self) -> str:
        """The share of the items that are done; a bar without a value if the total is not known."""
        done, total = self.status.get("done") or 0, self.status.get("total") or 0
        if not self.status.get("counted", True):
            value = "" if status_is_alive(self.status) else ' value="1"'
            return f' <progress aria-label="items done"{value}></progress>'
        share = done / total if total else 1.0
        bar = f'<progress aria-label="items done" value="{share:.4f}"></progress>'
        return f" {bar} {share:.0%}"

    def _rows(self) -> list[tuple[str, str]]:
        now, rows = self.history.now, status_rows(self.status)
        if now is None or not status_is_alive(self.status):
            return rows
        live = f"{format_rate(now)} now {self.history.sparkline(_SPARKS)} "
        return [(name, f"{live}{text}" if name == "Rate" else text) for name, text in rows]

    def _failures(self) -> list[tuple[str, str]]:
        return failure_rows(self.status)[:_MOST_FAILURES]


class NotebookWidget:
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
        self._history = RateHistory()

    def show(self, run: RunSnapshot) -> None:
        """See `Display`."""
        self._show(run.to_dict())

    def finish(self, run: RunSnapshot) -> None:
        """See `Display`."""
        self._show(run.to_dict() | {"state": "ended"})

    def _show(self, status: Mapping[str, Any]) -> None:
        self._history.add(time.monotonic(), status["done"])
        view = RunView(status, self._history)
        text = view._repr_html_()
        if self._output is None:
            self._output = self._show_output(view, display_id=True)
        elif text != self._shown:
            self._output.update(view)
        self._shown = text
