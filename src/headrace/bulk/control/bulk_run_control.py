"""Applies control messages to a `BulkRun`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace._support.text import listed, shortened
from headrace._support.units import format_count
from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.cancellation import Cancellation
from headrace.bulk.control.records import CANCELLED, RETRIED
from headrace.bulk.control.replies import Done
from headrace.bulk.control.run_control import RunControl
from headrace.bulk.control.snapshot import RunSnapshot, RunStatus
from headrace.bulk.executor import Executor
from headrace.bulk.journal import Journal
from headrace.bulk.policy_circuits import open_circuits
from headrace.bulk.progress import ClientEvents
from headrace.bulk.result_store import ResultStore
from headrace.errors import ControlRefused


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

    def retry_failed(self) -> Done:
        """Send the failed items again in this session; see `BulkRun.retry_failed`.

        Raises:
            ControlRefused: The run is stopping, or it is not possible in this run.
        """
        self._refuse_if_stopping()
        number = self._bulk.retry_failed()
        if not number:
            return Done(message="No item has failed.")
        items = format_count(number, "failed item")
        when = "after resume" if self._bulk.paused else self._bulk.when_retried
        change = self._note(RETRIED, None, items)
        return Done(message=f"{items} will be sent again {when}.", change=change)

    async def cancel(self, ids: Sequence[str]) -> Done:
        """Let items fail with the code "cancelled", that are in flight or were not sent yet.

        The ids that are done or not known are in the reply. Items that were not sent yet fail when their turn
        comes in this session.

        Raises:
            ControlRefused: No item can be cancelled.
        """
        self._refuse_if_ended()
        found = await self._bulk.cancel(dict.fromkeys(_checked(ids)))
        stopped = [*found.in_flight, *found.later, *found.dropped]
        message = describe_cancellation(found)
        if not stopped:
            raise ControlRefused(message)
        change = self._note(CANCELLED, None, shortened(", ".join(stopped)))
        return Done(
            message=message,
            change=change,
            cancelled=stopped,
            finished=found.finished,
            unknown=found.unknown,
        )


def _checked(ids: Sequence[str]) -> Sequence[str]:
    """The ids; a string is an error, as its characters may be ids of other items."""
    if isinstance(ids, str) or not isinstance(ids, Iterable) or not all(isinstance(id, str) for id in ids):
        raise ControlRefused("ids: must be a list of ids, which are texts")
    if not ids:
        raise ControlRefused("no ids: name the items to cancel")
    return ids


def describe_cancellation(found: Cancellation) -> str:
    """What became of a request to cancel items, as sentences for a person."""
    parts = {
        "Cancelled in flight": found.in_flight,
        "Fail when their turn comes": found.later,
        "Sent in a batch, so paid, and dropped when their answers come": found.dropped,
        "In flight, and not cancelled because the engine cannot": found.kept,
        "Done already": found.finished,
        "Not in the input": found.unknown,
    }
    return " ".join(f"{what}: {listed(ids)}." for what, ids in parts.items() if ids)
