"""The control of a run on Ray, in its driver."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import anyio
import anyio.to_thread

from headrace.bulk import (
    Cancellation,
    RunControl,
    RunSnapshot,
    RunStatus,
    Summary,
    decode_totals,
    ids_with_lines,
    run_identity,
)
from headrace_ray.folder import OutputFolder
from headrace_ray.orders import ActorOrders
from headrace_ray.reports import ActorReport, common_reason, read_reports
from headrace_ray.shards import PATTERN
from headrace_ray.stop import INTERRUPT

_POLL_INTERVAL = 0.1
"""Seconds between two looks whether the actors have carried out an order."""

_LONGEST_WAIT = 10.0
"""Seconds to wait for that. An actor that does not answer carries it out later."""


class RayControl(RunControl):
    """Shows a run on Ray, and changes it; see `headrace.bulk.RunControl`.

    Its totals are those that the actors have reported last, until a session has ended. If failed items are to
    be sent again then, a further session follows.

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
        self._turn = threading.RLock()
        self._again = False
        self._between_sessions = False

    def end_session(self, summary: Summary) -> bool:
        """Note that a session has ended with these totals.

        Returns:
            Whether another one must send the failed items again; its orders are held until `begin_session`.
        """
        with self._turn:
            again, self._again = self._again, False
            if not again or summary.stopped_by is not None or not summary.failed_before + summary.failed:
                self._result = summary
                return False
            self._between_sessions = True
            self._orders.hold()
            summary.done_before -= summary.failed_before
            summary.forget_failures()
            self._before = summary.snapshot()
        return True

    def begin_session(self) -> None:
        """Note that another session begins."""
        self._orders.move_to(self._folder.stop.shared)
        self._between_sessions = False

    def _reports(self) -> list[tuple[ActorReport, bool]]:
        return [] if self._between_sessions else list(read_reports(self._folder.stop.shared))

    def snapshot(self) -> RunSnapshot:
        """The state of the run now."""
        reports = self._reports()
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
        return [report for report, is_alive in self._reports() if is_alive]

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
        self._folder.request_stop(INTERRUPT)

    def _retry_failed(self) -> int:
        with self._turn:
            self._refuse_if_stopping()  # the last items may have been finished meanwhile
            totals = self.snapshot()
            number = totals.failed_before + totals.failed
            if number:
                self._again = True
                self._orders.forget_cancelled(self._with_lines(self._orders.cancelled))
        return number

    @property
    def _when_retried(self) -> str:
        return "when all others are done, with those that fail until then"

    async def _cancel(self, ids: Sequence[str]) -> Cancellation:
        # First, because an item that is cancelled before it is sent gets its line at once.
        finished = await anyio.to_thread.run_sync(self._with_lines, ids)
        others = [id for id in ids if id not in finished]
        in_flight = await self._cancelled_by_actors(others) if others else set()
        return Cancellation(
            in_flight=[id for id in others if id in in_flight],
            perhaps_later=[id for id in others if id not in in_flight],
            finished=[id for id in ids if id in finished],
        )

    async def _cancelled_by_actors(self, ids: Sequence[str]) -> set[str]:
        """Have the actors cancel items; return those that were in flight."""
        before = self._cancelled_in_flight()
        order = self._orders.cancel(ids)
        with anyio.move_on_after(_LONGEST_WAIT):
            while any(report.followed < order for report in self._alive()):  # noqa: ASYNC110 - no event
                await anyio.sleep(_POLL_INTERVAL)
        return self._cancelled_in_flight() - before

    def _cancelled_in_flight(self) -> set[str]:
        """Return the ids of the items whose calls the actors of this session have cancelled."""
        return {id for report, _ in self._reports() for id in report.cancelled}

    def _with_lines(self, ids: Collection[str]) -> set[str]:
        """Return those of the ids that have a line in a shard."""
        shards = self._folder.path.glob(PATTERN) if ids else ()
        return {id for shard in shards for id in ids_with_lines(shard, ids)}


def _waiting(alive: list[ActorReport]) -> str:
    return common_reason([report.waiting for report in alive])
