"""Results that are not written yet, because their items may not be at fault.

Two kinds are held back. What failed because the endpoint is down (no connection, a timeout, 5xx) waits for
the endpoint's next answer, and is sent again if the circuit opens before. What failed with an error that
later calls may share waits for what `SharedErrorDetector` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from headrace.bulk.result import Result
from headrace.client.shared_errors import SharedErrorDetector
from headrace.errors import (
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

_OUTAGE = frozenset(
    kind.code for kind in (ConnectError, ProxyError, CallTimeout, ProtocolError, IncompleteReply, ServerError)
)
"""Codes of errors that say nothing about the item, if the endpoint is down."""

_MOST_IN_DOUBT = 1_000
"""Failed items that wait for the endpoint's next answer; with so many it is taken to be down."""

_SILENCE = 2.0
"""Seconds for which an endpoint that answered none of those is left alone, whatever its circuit says."""


@attrs.frozen
class Refusal:
    """Why nothing is to be sent for now, and for how many seconds; None where nobody said it.

    ``because`` is what the endpoint was last seen to do, empty where that is not known.
    """

    error: HeadraceError
    seconds: float | None
    because: str = ""


class Doubts:
    """Says of each result whether it is to be written, and of the run whether it may go on drawing.

    ``refusal`` is why the drawing pauses, ``ended_by`` the error that ends it; None while it goes on.
    """

    def __init__(self) -> None:
        self._rule: SharedErrorDetector[Result] = SharedErrorDetector()
        self._outage: list[Result] = []
        self._trouble: Result | None = None
        self.refusal: Refusal | None = None
        self.ended_by: HeadraceError | None = None
        self.begin: Callable[[], int] = self._rule.begin

    @property
    def stops_drawing(self) -> bool:
        """True where nothing more is to be drawn in this pass over the input."""
        return self.refusal is not None or self._rule.verdict is not None

    def sort(self, results: list[Result]) -> list[Result]:
        """Take results as they come; returns those to be written now, earlier ones among them."""
        rule, certain = self._rule, list[Result]()
        for result in results:
            if result.shared is not None:
                if result.status is not None:
                    certain += self._answered()
                if result.shared.scope is ErrorScope.RATE:
                    self._trouble = result
                certain += rule.fail(result.index, result.shared, result)
            elif not result.line:
                self._pause(result.error, result.retry_after)
            elif result.code not in _OUTAGE:
                if self._trouble is not None:
                    certain += self._answered()
                if rule.held and result.answered:
                    certain += rule.succeed(result.number)
                certain.append(result)
            elif self.refusal is None:
                self._outage.append(result)
                self._trouble = result
        if len(self._outage) >= _MOST_IN_DOUBT:
            why = f"the endpoint has answered none of {len(self._outage):,} items in a row"
            self._pause(CircuitOpen(why, _SILENCE), _SILENCE)
        return certain

    def end_pass(self, *, exhausted: bool) -> list[Result]:
        """No call is under way; returns what is to be written, and sets ``refusal`` or ``ended_by``.

        ``exhausted``: the input's end was reached.
        """
        rule = self._rule
        if self.refusal is not None:
            rule.forget()
            return []
        certain = rule.settle(exhausted=exhausted)
        verdict = rule.verdict
        rule.forget()
        if verdict is None:
            return self._answered() + certain
        self._outage.clear()
        if verdict.error.scope is ErrorScope.RATE:
            self.refusal = Refusal(verdict.first.error, verdict.first.retry_after, verdict.first.message)
        else:
            self.ended_by = verdict.first.error
        return certain

    def _answered(self) -> list[Result]:
        """The endpoint answers, so what failed before has failed by itself."""
        results, self._outage = self._outage, []
        self._trouble = None
        return results

    def _pause(self, error: HeadraceError, seconds: float | None) -> None:
        trouble = self._trouble
        if trouble is not None and trouble.shared is not None:
            error = trouble.error  # the rate limit, where the pause is only what followed from it
        self.refusal = Refusal(error, seconds, "" if trouble is None else trouble.message)
        self._outage.clear()
