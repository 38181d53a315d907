"""The circuit of one endpoint: a state machine without I/O, after Michael Nygard, "Release It!".

    state      what happens                                             next state
    ---------  -------------------------------------------------------  ------------------------------
    closed     every call goes through, its result is counted
               the failure rate or the run of failures is reached       open
    open       every call is refused
               a call comes ``open_for`` seconds later, or after that   half open, the call as a probe
    half open  ``probes`` calls go through, further ones are refused
               a probe fails                                            open, for another ``open_for``
               ``probes`` probes have succeeded                         closed, nothing counted yet
               a probe ends without a result (cancelled)                half open, its permit is free again

Time passes only as callers say it does (``now``, in seconds on a clock that never goes back): nothing runs
in the background. Each change of state begins a new *generation*, and a call hands in its result under the
generation in which it was admitted; that of another one is ignored, because it tells about a time that is
over (a call begun before the circuit opened must not close it, nor open it again).

The failure rate is that of the last ``window`` seconds, counted in `BUCKETS` equal slices that are forgotten
one at a time: constant work a call, and a result counts for ``window`` seconds less at most one slice. It is
looked at after each result, whatever that result was, once ``minimum_calls`` are in the window.
"""

from __future__ import annotations

import enum

import attrs

BUCKETS = 60


class State(enum.Enum):
    """The three states of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.frozen(kw_only=True)
class Rules:
    """When a circuit opens and closes; see `headrace_breaker.Breaker`."""

    failure_rate: float | None
    window: float
    minimum_calls: int
    consecutive: int | None
    open_for: float
    probes: int


class Window:
    """How many calls, and how many failures, the last ``length`` seconds have seen."""

    __slots__ = ("_calls", "_failed", "_slice", "_width", "calls", "failed")

    def __init__(self, length: float) -> None:
        self._width = length / BUCKETS
        self._slice = 0
        self._calls = [0] * BUCKETS
        self._failed = [0] * BUCKETS
        self.calls = 0
        self.failed = 0

    def count(self, now: float, failed: bool) -> None:
        """Count one result, and forget what is too old."""
        slice_ = int(now / self._width)
        if slice_ != self._slice:
            self._advance(slice_)
        at = slice_ % BUCKETS
        self._calls[at] += 1
        self.calls += 1
        if failed:
            self._failed[at] += 1
            self.failed += 1

    def _advance(self, slice_: int) -> None:
        for passed in range(max(self._slice, slice_ - BUCKETS) + 1, slice_ + 1):
            at = passed % BUCKETS
            self.calls -= self._calls[at]
            self.failed -= self._failed[at]
            self._calls[at] = self._failed[at] = 0
        self._slice = slice_


class Circuit:
    """One endpoint's circuit, by `Rules`; closed at first."""

    __slots__ = ("_begun", "_run", "_since", "_succeeded", "_window", "generation", "rules", "state")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.generation = -1
        self._begun = self._succeeded = self._run = 0
        self._enter(State.CLOSED, 0.0)

    def admit(self, now: float) -> bool:
        """Whether a call may go through; if so it belongs to the `generation` of this moment."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN:
            if self.due(now) > 0:
                return False
            self._enter(State.HALF_OPEN, now)
        if self._begun == self.rules.probes:
            return False
        self._begun += 1
        return True

    def due(self, now: float) -> float:
        """Seconds until the next probe is let through; 0 where that depends on no clock."""
        if self.state is not State.OPEN:
            return 0.0
        return max(0.0, self._since + self.rules.open_for - now)

    def succeed(self, generation: int, now: float) -> None:
        """A call admitted in ``generation`` was answered."""
        if generation != self.generation:
            return
        if self.state is State.HALF_OPEN:
            self._succeeded += 1
            if self._succeeded == self.rules.probes:
                self._enter(State.CLOSED, now)
            return
        self._run = 0
        if self.rules.failure_rate is not None:
            self._window.count(now, failed=False)
            if self._window.failed:  # without a failure no rate is reached
                self._look(now)

    def fail(self, generation: int, now: float) -> None:
        """A call admitted in ``generation`` failed through the endpoint's fault."""
        if generation != self.generation:
            return
        if self.state is State.HALF_OPEN:
            self._enter(State.OPEN, now)
            return
        self._run += 1
        if self._run == self.rules.consecutive:
            self._enter(State.OPEN, now)
        elif self.rules.failure_rate is not None:
            self._window.count(now, failed=True)
            self._look(now)

    def abandon(self, generation: int) -> None:
        """A call admitted in ``generation`` ended without telling anything about the endpoint."""
        if generation == self.generation and self.state is State.HALF_OPEN:
            self._begun -= 1

    def _look(self, now: float) -> None:
        """Open where the failure rate is reached."""
        rate, window = self.rules.failure_rate, self._window
        if (
            rate is not None
            and window.calls >= self.rules.minimum_calls
            and window.failed >= rate * window.calls
        ):
            self._enter(State.OPEN, now)

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.generation += 1
        self._since = now
        self._begun = self._succeeded = self._run = 0
        self._window = Window(self.rules.window)
