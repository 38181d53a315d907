"""Applies control messages to a run."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace._support.text import listed, shortened
from headrace._support.units import format_count
from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.cancellation import Cancellation
from headrace.bulk.control.limits import RunLimits
from headrace.bulk.control.messages import (
    CancelItems,
    ControlMessage,
    GetStatus,
    PauseRun,
    ResumeRun,
    RetryFailed,
    SetLimit,
    decode_message,
)
from headrace.bulk.control.records import (
    CANCELLED,
    RETRIED,
    Change,
    change_of,
    record_address,
    record_change,
)
from headrace.bulk.control.replies import Done, Refused
from headrace.bulk.control.snapshot import RunSnapshot, RunStatus
from headrace.bulk.executor import Executor
from headrace.bulk.journal import Journal
from headrace.bulk.policy_circuits import open_circuits
from headrace.bulk.policy_limits import LimitValue
from headrace.bulk.progress import ClientEvents
from headrace.bulk.result_store import ResultStore
from headrace.errors import ControlRefused, HeadraceError

_log = logging.getLogger("headrace")

_SHOWN_CHANGES = 20


class RunControl:
    """Shows a run that goes on, and changes it. All methods are called in its event loop.

    Each change is logged, and written to the journal's sidecar.

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
        self._out = None if self._journal is None else os.path.abspath(self._journal.path)
        self._policies = policies
        self._events = events
        self._engine = engine
        self._limits = RunLimits(executor, policies, engine)
        self._changes: deque[Change] = deque(maxlen=_SHOWN_CHANGES)

    @property
    def out(self) -> str | None:
        """The absolute path of the output file; None in memory or on stdout."""
        return self._out

    def announce(self, address: str) -> None:
        """Write to the journal's sidecar where this run takes control messages; see `control_address`."""
        if self._journal is not None:
            record_address(self._journal.sidecar, address)

    async def reply_to(self, line: bytes) -> bytes:
        """Carry out a message as JSON, and return the reply as JSON, on one line.

        It raises no error: what goes wrong is the reply.
        """
        try:
            reply = await self.apply(decode_message(line))
        except HeadraceError as error:
            return msgspec.json.encode(Refused(message=str(error)))
        except Exception as error:
            _log.exception("a control message failed")
            return msgspec.json.encode(Refused(message=f"an error in headrace: {type(error).__name__}"))
        return reply.to_json().encode() if isinstance(reply, RunSnapshot) else msgspec.json.encode(reply)

    async def apply(self, message: ControlMessage) -> RunSnapshot | Done:
        """Carry out a message.

        Returns:
            The snapshot for `GetStatus`, else what was done.

        Raises:
            ControlRefused: It cannot be carried out, or its value is not valid.
        """
        if isinstance(message, GetStatus):
            return self.snapshot()
        if isinstance(message, SetLimit):
            return self.set_limit(message.name, message.value)
        if isinstance(message, PauseRun):
            return self.pause()
        if isinstance(message, ResumeRun):
            return self.resume()
        if isinstance(message, CancelItems):
            return await self.cancel(message.ids)
        if isinstance(message, RetryFailed):
            return self.retry_failed()
        return self.stop()

    def snapshot(self) -> RunSnapshot:
        """The state of the run now."""
        bulk, journal = self._bulk, self._journal
        snapshot = bulk.summary.copy_to(
            RunSnapshot(
                0,
                run="" if journal is None else journal.run_id,
                state=self._state(),
                time=time.time(),
                out=self.out,
                engine=self._engine,
                engine_status=getattr(self._executor, "status", ""),
                in_flight=0 if bulk.ended else self._executor.in_flight,
                max_in_flight=self._limits.max_in_flight,
                circuits=self._open_circuits(),
                limits=self._limits.values(),
                changes=tuple(self._changes),
            )
        )
        snapshot.elapsed = bulk.elapsed
        if self._events is not None:  # it also knows the retries of items that are not done
            snapshot.retries = max(snapshot.retries, self._events.retries)
        return snapshot

    def _open_circuits(self) -> dict[str, str]:
        """Those of this process, and of worker processes, which report theirs as events."""
        reported = {} if self._events is None else self._events.open_circuits
        return {**reported, **open_circuits(self._policies)}

    def _state(self) -> RunStatus:
        bulk = self._bulk
        if bulk.ended:
            return "ended"
        if bulk.stopping:
            return "stopping"
        if bulk.paused:
            return "paused"
        return "waiting" if bulk.summary.waiting else "running"

    def pause(self) -> Done:
        """Draw no more items, until `resume`; those in flight are finished."""
        self._refuse_if_stopping()
        if self._bulk.paused:
            return Done(message="The run is paused already.")
        change = self._note("state", self._state(), "paused")
        self._bulk.pause()
        rest = format_count(self._executor.in_flight, "call")
        return Done(message=f"Paused: no more items are sent; {rest} in flight are finished.", change=change)

    def resume(self) -> Done:
        """Draw items again."""
        self._refuse_if_stopping()
        if not self._bulk.paused:
            return Done(message="The run is not paused.")
        self._bulk.resume()
        change = self._note("state", "paused", self._state())
        return Done(message="Resumed: items are sent again.", change=change)

    def stop(self) -> Done:
        """Draw no more items, and end the session when those in flight are finished."""
        self._refuse_if_ended()
        if self._bulk.stopping:
            return Done(message="The run is stopping already.")
        change = self._note("state", self._state(), "stopping")
        self._bulk.stop()
        return Done(
            message="Stopping: calls in flight are being finished; run its command again to continue.",
            change=change,
        )

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
        found = await self._bulk.cancel(dict.fromkeys(ids))
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

    def set_limit(self, name: str, value: LimitValue) -> Done:
        """Change a limit.

        Args:
            name: The limit, one of ``snapshot().limits``.
            value: The new value; None for no limit.

        Raises:
            ControlRefused: The value is not valid, or nothing in this run has such a limit.
        """
        self._refuse_if_ended()
        old, new = self._limits.change(name, value)
        if old == new:
            return Done(message=f"{name} is {_text(new)} already.")
        return Done(message=f"{name}: {_text(old)} → {_text(new)}.", change=self._note(name, old, new))

    def _refuse_if_ended(self) -> None:
        if self._bulk.ended:
            raise ControlRefused("the run has ended; run its command again to continue it")

    def _refuse_if_stopping(self) -> None:
        self._refuse_if_ended()
        if self._bulk.stopping:
            raise ControlRefused("the run is stopping; run its command again to continue it")

    def _note(self, what: str, old: LimitValue, new: LimitValue) -> Change:
        """Log a change, and write it to the sidecar."""
        change = change_of(what, old, new)
        self._changes.append(change)
        _log.info("%s: %s", self.out or "run", change)
        if self._journal is not None:
            record_change(self._journal.sidecar, change)
        return change


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


def _text(value: LimitValue) -> str:
    return "none" if value is None else str(value)
