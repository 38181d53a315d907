"""The control of a run on Ray, in its driver."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

from headrace import ControlRefused
from headrace.bulk import Done, RunControl, RunSnapshot, RunStatus, Summary, decode_totals, run_identity
from headrace_ray.folder import OutputFolder
from headrace_ray.orders import ActorOrders
from headrace_ray.reports import ActorReport, common_reason, read_reports
from headrace_ray.stop import INTERRUPT


class RayControl(RunControl):
    """Shows a run on Ray, and changes it; see `headrace.bulk.RunControl`.

    Its totals are those that the actors have reported last, until `end` has those of the session.

    Args:
        folder: The output folder.
        orders: The orders to the actors.
        actors: The number of actors.
        policies: The policies of a client like those of the actors.
        before: The totals at the start: what earlier sessions have done.
        total: The number of all items; None if it is not known.
    """

    def __init__(
        self,
        folder: OutputFolder,
        orders: ActorOrders,
        *,
        actors: int,
        policies: Sequence[Any],
        before: Summary,
        total: int | None,
    ) -> None:
        super().__init__(folder.path, folder, orders, policies=policies, engine="ray")
        self._folder = folder
        self._orders = orders
        self._actors = actors
        self._before = before.snapshot()
        self._total = total
        self._started = time.monotonic()
        self._result: Summary | None = None

    def end(self, summary: Summary) -> None:
        """Note that the session has ended with these totals."""
        self._result = summary

    def snapshot(self) -> RunSnapshot:
        """The state of the run now."""
        reports = list(read_reports(self._folder.stop.shared))
        alive = [report for report, is_alive in reports if is_alive]
        state, result = self._state_of(alive), self._result
        return self._snapshot_of(
            result or self._totals([report for report, _ in reports], state, _waiting(alive)),
            run=self._run_id,
            state=state,
            in_flight=0 if result else sum(report.in_flight for report in alive),
            engine_status="" if result else f"{len(alive)} of {self._actors} actors",
            circuits={endpoint: why for report in alive for endpoint, why in report.circuits.items()},
        )

    @functools.cached_property
    def _run_id(self) -> str:
        return run_identity(self._folder.path).id

    def _totals(self, reports: list[ActorReport], state: RunStatus, waiting: str) -> Summary:
        """The totals that the actors have reported; those of dead ones count, too."""
        totals = self._before.snapshot()
        for report in reports:
            totals.merge(decode_totals(report.totals))
        totals.elapsed = time.monotonic() - self._started
        totals.counted = self._total is not None
        totals.total = totals.done if self._total is None else self._total
        totals.waiting = {"paused": "paused", "waiting": waiting}.get(state, "")
        totals.stopped_by = self._folder.stop.reason()
        return totals

    def _alive(self) -> list[ActorReport]:
        return [report for report, is_alive in read_reports(self._folder.stop.shared) if is_alive]

    def _state_of(self, alive: list[ActorReport]) -> RunStatus:
        if self._result is not None:
            return "ended"
        if self._folder.stop.requested:
            return "stopping"
        if self._orders.paused:
            return "paused"
        return "waiting" if _waiting(alive) else "running"

    @property
    def _state(self) -> RunStatus:
        return self._state_of(self._alive())

    @property
    def _in_flight(self) -> int:
        return sum(report.in_flight for report in self._alive())

    def _pause(self) -> None:
        self._orders.paused = True

    def _resume(self) -> None:
        self._orders.paused = False

    def _stop(self) -> None:
        self._folder.stop.request(INTERRUPT)

    def retry_failed(self) -> Done:
        """Refused: the actors read no item twice in a session."""
        self._refuse_if_stopping()
        raise ControlRefused(
            "retry-failed: not while a run with engine ray goes on; stop the run, and run its command again "
            'with only="failed"'
        )

    async def cancel(self, ids: Sequence[str]) -> Done:
        """Refused: the driver does not know which actor has an item."""
        self._refuse_if_ended()
        raise ControlRefused(
            "cancel: a run with engine ray cannot cancel single items; stop ends the run, and its command "
            "continues it"
        )


def _waiting(alive: list[ActorReport]) -> str:
    return common_reason([report.waiting for report in alive])
