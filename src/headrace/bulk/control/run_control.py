"""What every control of a run has in common: its messages, its replies, and the record of its changes."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace._support.text import shortened
from headrace._support.units import format_count
from headrace.bulk.cancellation import Cancellation, checked_ids
from headrace.bulk.control.change_log import ChangeLog, SidecarOwner
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
from headrace.bulk.control.records import CANCELLED, RETRIED
from headrace.bulk.control.replies import Done, Refused
from headrace.bulk.control.snapshot import RunSnapshot, RunStatus
from headrace.bulk.policy_limits import LimitValue
from headrace.bulk.summary import Summary
from headrace.errors import ControlRefused, HeadraceError

_log = logging.getLogger("headrace")


class RunControl(ABC):
    """Shows a run that goes on, and changes it. All methods are called in one event loop.

    Each change is logged, and written to the journal's sidecar.

    An engine that has the whole run to itself makes a subclass, and opens `accompanied_in_thread` with it.
    The abstract methods whose names begin with an underscore do what is asked for; whether that is possible
    now was checked before.

    Args:
        out: The output; None in memory or on stdout.
        journal: Holds the sidecar of the output; None without one.
        executor: Makes the calls; what can be changed depends on its members, see `Executor`.
        policies: The policies of the client, whose `AdjustableLimits` are limits of the run.
        engine: The name of the engine that makes the calls; None for ordinary calls.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        journal: SidecarOwner | None,
        executor: object,
        *,
        policies: Sequence[Any] = (),
        engine: str | None = None,
    ) -> None:
        self._out = None if out is None else os.path.abspath(out)
        self._limits = RunLimits(executor, policies, engine)
        self._policies = policies
        self._engine = engine
        self._changes = ChangeLog(self._out, journal)

    @property
    def out(self) -> str | None:
        """The absolute path of the output; None in memory or on stdout."""
        return self._out

    @abstractmethod
    def snapshot(self) -> RunSnapshot:
        """The state of the run now."""

    @property
    @abstractmethod
    def _state(self) -> RunStatus:
        """What the run does."""

    @property
    @abstractmethod
    def _in_flight(self) -> int:
        """The number of calls in flight."""

    @abstractmethod
    def _pause(self) -> None:
        """Draw no more items."""

    @abstractmethod
    def _resume(self) -> None:
        """Draw items again."""

    @abstractmethod
    def _stop(self) -> None:
        """Draw no more items, and end the session when those in flight are finished."""

    @abstractmethod
    def _retry_failed(self) -> int:
        """Have the failed items sent again in this session; returns how many have failed, in all sessions.

        Raises:
            ControlRefused: It is not possible in this run.
        """

    @property
    @abstractmethod
    def _when_retried(self) -> str:
        """When they are sent, in words."""

    @abstractmethod
    async def _cancel(self, ids: Sequence[str]) -> Cancellation:
        """Let items fail; the ids differ.

        Raises:
            ControlRefused: It is not possible in this run.
        """

    def announce(self, address: str) -> None:
        """Write to the journal's sidecar where this run takes control messages; see `control_address`."""
        self._changes.announce(address)

    async def reply_to(self, line: bytes) -> bytes:
        """Carry out a message as JSON, and return the reply as JSON, on one line.

        It raises no error: what goes wrong is the reply.
        """
        try:
            reply = await self.apply(decode_message(line))
            if isinstance(reply, RunSnapshot):
                return reply.to_json().encode()
            return msgspec.json.encode(reply)
        except HeadraceError as error:
            return msgspec.json.encode(Refused(message=str(error)))
        except Exception as error:
            _log.exception("a control message failed")
            return msgspec.json.encode(Refused(message=f"an error in headrace: {type(error).__name__}"))

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

    def pause(self) -> Done:
        """Draw no more items, until `resume`; those in flight are finished."""
        state = self._refuse_if_stopping()
        if state == "paused":
            return Done(message="The run is paused already.")
        self._pause()
        change = self._changes.note("state", state, "paused")
        rest = format_count(self._in_flight, "call")
        return Done(
            message=f"Paused: no more items are sent; {rest} in flight will be finished.", change=change
        )

    def resume(self) -> Done:
        """Draw items again."""
        if self._refuse_if_stopping() != "paused":
            return Done(message="The run is not paused.")
        self._resume()
        change = self._changes.note("state", "paused", self._state)
        return Done(message="Resumed: items are sent again.", change=change)

    @property
    def _what_is_finished(self) -> str:
        """What a stop waits for."""
        return "calls in flight are being"

    def stop(self) -> Done:
        """Draw no more items, and end the session when those in flight are finished."""
        state = self._refuse_if_ended()
        if state == "stopping":
            return Done(message="The run is stopping already.")
        self._stop()
        change = self._changes.note("state", state, "stopping")
        return Done(
            message=f"Stopping: {self._what_is_finished} finished; run its command again to continue.",
            change=change,
        )

    def retry_failed(self) -> Done:
        """Send the failed items again in this session.

        Raises:
            ControlRefused: The run is stopping, or it is not possible in this run.
        """
        self._refuse_if_stopping()
        number = self._retry_failed()
        if not number:
            return Done(message="No item has failed.")
        items, when = format_count(number, "failed item"), self._when_retried
        return Done(
            message=f"{items} will be sent again {when}.",
            change=self._changes.note(RETRIED, None, items),
        )

    async def cancel(self, ids: Sequence[str]) -> Done:
        """Let items fail with the code "cancelled", that are in flight or were not sent yet.

        The ids that are done or not known are in the reply. Items that were not sent yet fail when their turn
        comes in this session.

        Raises:
            ControlRefused: No item can be cancelled.
        """
        self._refuse_if_ended()
        found = await self._cancel(checked_ids(ids))
        message, stopped = found.describe(), found.stopped
        if not stopped:
            raise ControlRefused(message)
        return Done(
            message=message,
            change=self._changes.note(CANCELLED, None, shortened(", ".join(stopped))),
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
        return Done(
            message=f"{name}: {_text(old)} → {_text(new)}.", change=self._changes.note(name, old, new)
        )

    def _refuse_if_ended(self) -> RunStatus:
        """Returns the state: it is asked for once, because an engine may read files for it."""
        state = self._state
        if state == "ended":
            raise ControlRefused("the run has ended; run its command again to continue it")
        return state

    def _refuse_if_stopping(self) -> RunStatus:
        """Returns the state; see `_refuse_if_ended`."""
        state = self._refuse_if_ended()
        if state == "stopping":
            raise ControlRefused("the run is stopping; run its command again to continue it")
        return state

    def _snapshot_of(
        self,
        summary: Summary,
        *,
        run: str,
        state: RunStatus,
        in_flight: int,
        engine_status: str,
        circuits: Mapping[str, str],
    ) -> RunSnapshot:
        """A snapshot with these totals, and with the limits and the changes."""
        return summary.copy_to(
            RunSnapshot(
                0,
                run=run,
                state=state,
                time=time.time(),
                out=self.out,
                engine=self._engine,
                engine_status=engine_status,
                in_flight=in_flight,
                max_in_flight=self._limits.max_in_flight,
                circuits=circuits,
                limits=self._limits.values(),
                changes=self._changes.last,
            )
        )


def _text(value: LimitValue) -> str:
    return "none" if value is None else shortened(str(value))
