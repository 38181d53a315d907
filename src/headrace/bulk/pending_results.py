"""Failed results that are not written yet, because the item may not be the cause.

There are two kinds. An item that failed because the endpoint is down (no connection, a timeout, 5xx) waits
for an answer to a call that began after it had failed; if the circuit opens first, the item is sent again. An
item that failed with an error that later calls may share waits for the verdict of `SharedErrorDetector`.

An answer to a call that began before says nothing: the endpoint may have gone down since. Results of several
processes arrive in any order, so such an answer can be reported after the failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from headrace.bulk.item_result import ItemResult
from headrace.client.shared_errors import SharedErrorDetector
from headrace.errors import (
    CallCancelled,
    CallTimeout,
    CircuitOpen,
    ConnectError,
    HeadraceError,
    IncompleteReply,
    ProtocolError,
    ProxyError,
    ServerError,
)
from headrace.wire.error_scope import ErrorScope

_OUTAGE_CODES = frozenset(
    kind.code for kind in (ConnectError, ProxyError, CallTimeout, ProtocolError, IncompleteReply, ServerError)
)
"""Codes of errors that the item does not cause if the endpoint is down."""

_SILENT_CODES = frozenset({"input_error", CallCancelled.code})
"""Codes of items that have no request or were cancelled, so their results say nothing about the endpoint."""

_MOST_UNANSWERED = 1_000
"""If this many items fail and no call is answered between them, the endpoint counts as down."""

_DOWN_PAUSE = 2.0
"""Seconds to wait for an endpoint that counts as down, even if its circuit is closed."""


@attrs.frozen
class Pause:
    """Why nothing is sent for now.

    Attributes:
        error: The error that caused the pause.
        seconds: Its length, None if the endpoint gave none.
        reason: The last error that the endpoint caused, empty if none is known.
    """

    error: HeadraceError
    seconds: float | None
    reason: str = ""


class PendingResults:
    """Decides which results are written now, and whether the run draws more items.

    Attributes:
        pause: Why drawing pauses, or None.
        ended_by: The error that ends the run, or None.
    """

    def __init__(self) -> None:
        self._shared_errors: SharedErrorDetector[ItemResult] = SharedErrorDetector()
        self._outage: deque[ItemResult] = deque()
        self._outage_since: deque[int] = deque()  # calls begun when each of them failed
        self._unanswered = 0  # items that failed since the endpoint's last answer to any call
        self._last_trouble: ItemResult | None = None
        self.pause: Pause | None = None
        self.ended_by: HeadraceError | None = None
        self.begin: Callable[[], int] = self._shared_errors.begin

    @property
    def stops_drawing(self) -> bool:
        """Whether no more items are drawn in this pass over the input."""
        return self.pause is not None or self._shared_errors.verdict is not None

    def add(self, results: list[ItemResult]) -> list[ItemResult]:
        """Add new results; returns those to write now, which may include earlier ones."""
        shared_errors, ready = self._shared_errors, list[ItemResult]()
        for result in results:
            if result.shared is not None:
                if result.status is not None:
                    ready += self._release(result.number)
                if result.shared.scope is ErrorScope.RATE:
                    self._last_trouble = result
                ready += shared_errors.fail(result.index, result.shared, result, result.step)
            elif not result.line:
                self._pause(result.error, result.retry_after)
            elif result.code not in _OUTAGE_CODES:
                if self._last_trouble is not None and result.code not in _SILENT_CODES:
                    ready += self._release(result.number)
                if shared_errors.held and result.answered:
                    ready += shared_errors.succeed(result.number, result.step)
                ready.append(result)
            elif self.pause is None:
                self._outage.append(result)
                self._outage_since.append(shared_errors.begun)
                self._unanswered += 1
                self._last_trouble = result
        if self._unanswered >= _MOST_UNANSWERED:
            why = f"the endpoint has answered none of {self._unanswered:,} items in a row"
            self._pause(CircuitOpen(why, _DOWN_PAUSE), _DOWN_PAUSE)
        return ready

    def end_pass(self, *, exhausted: bool) -> list[ItemResult]:
        """End a pass over the input, when no call is in flight; sets ``pause`` or ``ended_by``.

        Args:
            exhausted: Whether the pass reached the end of the input.

        Returns:
            The results to write now.
        """
        shared_errors = self._shared_errors
        if self.pause is not None:
            shared_errors.forget()
            return []
        ready = shared_errors.settle(exhausted=exhausted)
        verdict = shared_errors.verdict
        shared_errors.forget()
        if verdict is None:
            return self._release_all() + ready
        self._forget_outage()
        if verdict.error.scope is ErrorScope.RATE:
            self.pause = Pause(verdict.first.error, verdict.first.retry_after, verdict.first.message)
        else:
            self.ended_by = verdict.first.error
        return ready

    def _release(self, number: int) -> list[ItemResult]:
        """Report an answer to the call with this number; returns the held results that it makes final."""
        self._unanswered = 0
        released = list[ItemResult]()
        since = self._outage_since
        while since and since[0] < number:
            since.popleft()
            released.append(self._outage.popleft())
        if not since:
            self._last_trouble = None
        return released

    def _release_all(self) -> list[ItemResult]:
        """Return the held results, which are final because no call is in flight."""
        results = list(self._outage)
        self._forget_outage()
        self._last_trouble = None
        return results

    def _forget_outage(self) -> None:
        self._outage.clear()
        self._outage_since.clear()
        self._unanswered = 0

    def _pause(self, error: HeadraceError, seconds: float | None) -> None:
        trouble = self._last_trouble
        if trouble is not None and trouble.shared is not None:
            error = trouble.error  # name the rate limit, not the pause that it caused
        self.pause = Pause(error, seconds, "" if trouble is None else trouble.message)
        self._forget_outage()
