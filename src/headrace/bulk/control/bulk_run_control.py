"""Applies control messages to a `BulkRun`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.cancellation import Cancellation
from headrace.bulk.control.run_control import RunControl
from headrace.bulk.control.snapshot import RunSnapshot, RunStatus
from headrace.bulk.executor import Executor
from headrace.bulk.journal import Journal
from headrace.bulk.policy_circuits import open_circuits
from headrace.bulk.progress import ClientEvents
from headrace.bulk.result_store import ResultStore


class BulkRunControl(RunControl):
    """Shows a `BulkRun` that goes on, and changes it. All methods are called in its event loop.

    Args:
        bulk: The run.
        executor: Makes its calls.
        journal: Where its results are stored.
        policies: The policies of its client.
        events: What its client reports; None if nobody observes the client.
        engine: The name of the engine that makes the calls; None for ordinary calls.
    """

    def __init__(
        self,
        bulk: BulkRun,
        executor: Executor,
        journal: ResultStore,
        *,
        policies: Sequence[Any] = (),
        events: ClientEvents | None = None,
        engine: str | None = None,
    ) -> None:
        bulk.attach(executor)
        self._bulk = bulk
        self._executor = executor
        self._journal = journal if isinstance(journal, Journal) else None
        self._events = events
        out = None if self._journal is None else self._journal.path
        super().__init__(out, self._journal, executor, policies=policies, engine=engine)

    def snapshot(self) -> RunSnapshot:
        """The state of the run now."""
        bulk, journal = self._bulk, self._journal
        snapshot = self._snapshot_of(
            bulk.summary,
            run="" if journal is None else journal.run_id,
            state=self._state,
            in_flight=self._in_flight,
            engine_status=getattr(self._executor, "status", ""),
            circuits=self._open_circuits(),
        )
        snapshot.elapsed = bulk.elapsed
        if self._events is not None:  # it also knows the retries of items that are not done
            snapshot.retries = max(snapshot.retries, self._events.retries)
        return snapshot

    def _open_circuits(self) -> dict[str, str]:
        """Those of this process, and of worker processes, which report theirs as events."""
        reported = {} if self._events is None else self._events.open_circuits
        return {**reported, **open_circuits(self._policies)}

    @property
    def _state(self) -> RunStatus:
        bulk = self._bulk
        if bulk.ended:
            return "ended"
        if bulk.stopping:
            return "stopping"
        if bulk.paused:
            return "paused"
        return "waiting" if bulk.summary.waiting else "running"

    @property
    def _in_flight(self) -> int:
        return 0 if self._bulk.ended else self._executor.in_flight

    def _pause(self) -> None:
        self._bulk.pause()

    def _resume(self) -> None:
        self._bulk.resume()

    def _stop(self) -> None:
        self._bulk.stop()

    @property
    def _what_is_finished(self) -> str:
        leaves_calls = hasattr(self._executor, "stop")
        return "what is being sent is" if leaves_calls else super()._what_is_finished

    def _retry_failed(self) -> int:
        return self._bulk.retry_failed()

    @property
    def _when_retried(self) -> str:
        return "after resume" if self._bulk.paused else self._bulk.when_retried

    async def _cancel(self, ids: Sequence[str]) -> Cancellation:
        return await self._bulk.cancel(ids)
