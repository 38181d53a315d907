"""What the runs of the page do now: whether they are alive, and the snapshots of those that answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from headrace_view.file_locks import FileLocks
from headrace_view.liveness import Liveness, RunState, Signs
from headrace_view.runs import ViewedRun
from headrace_view.web.steering import LiveRuns, RunGone


@attrs.frozen
class SeenRun:
    """A run at one moment; ``status`` is its snapshot, None without one."""

    state: RunState
    status: Mapping[str, Any] | None

    @property
    def live(self) -> bool:
        """Whether the run is alive."""
        return self.state == "running"


class RunWatch:
    """Looks at runs.

    Args:
        live: The runs that are alive, for their snapshots.
    """

    def __init__(self, live: LiveRuns) -> None:
        self._live = live
        self._locks = FileLocks()
        self._liveness: dict[int, Liveness] = {}

    def look(self, runs: Iterable[ViewedRun], now: float) -> list[SeenRun]:
        """What each run does at this moment, by the clock of `time.time`."""
        every = list(runs)
        self._locks.look(lock for run in every if (lock := run.lock) is not None)
        return [self._look(run, now) for run in every]

    def snapshot(self, out: Path) -> Mapping[str, Any] | None:
        """The snapshot of the run that all outputs are shards of; None without one."""
        with suppress(RunGone):
            return self._live.status(out)
        return None

    def _look(self, run: ViewedRun, now: float) -> SeenRun:
        status, gone = None, None
        try:
            if run.shard_of is None:  # the snapshot of a run is about all its shards
                status = self._live.status(run.journal)
        except RunGone as error:
            gone = error
        signs = Signs(
            modified=run.modified,
            answers=status is not None,
            refuses=gone is not None,
            socket_left=gone is not None and gone.socket_left,
            locked=self._is_locked(run),
            torn=run.is_torn,
        )
        return SeenRun(self._liveness.setdefault(run.number, Liveness()).judge(signs, now), status)

    def _is_locked(self, run: ViewedRun) -> bool | None:
        with suppress(OSError):
            return self._locks.holds(os.stat(run.sidecar))
        return None
