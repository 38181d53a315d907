"""The runs of this machine that are alive, over their control sockets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace import HeadraceError
from headrace.bulk import ControlMessage, PauseRun, ResumeRun, SetLimit, StopRun
from headrace_view.control import connect
from headrace_view.web import Change

_LONGEST_WAIT = 2.0
"""Seconds for a snapshot; the page shows the rest without it."""

_MESSAGES: Mapping[str, ControlMessage] = {"pause": PauseRun(), "resume": ResumeRun(), "stop": StopRun()}


class SocketRuns:
    """Asks live runs over their sockets; see `headrace_view.web.LiveRuns`."""

    def status(self, out: Path) -> Mapping[str, Any] | None:
        """The snapshot of a run."""
        try:
            with connect(out, timeout=_LONGEST_WAIT) as client:
                return client.status()
        except HeadraceError:
            return None

    def change(self, out: Path, change: Change) -> str:
        """Change a run."""
        message = _MESSAGES.get(change.type) or SetLimit(name=change.name, value=change.value)
        with connect(out) as client:
            return client.send(message).message
