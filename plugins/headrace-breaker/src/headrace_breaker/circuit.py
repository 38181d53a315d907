"""The circuit of one endpoint: a state machine without I/O, after Michael Nygard, "Release It!".

    state      what happens                                             next state
    ---------  -------------------------------------------------------  ------------------------------
    closed     every call goes through, its result is counted
               a rate (of failures, of slow calls) is reached           open
               so many calls fail in a row                              open
               nothing but failures for ``down_after`` seconds          open
    open       every call is refused
               a call comes ``open_for`` seconds later, or after that   half open, the call as a probe
    half open  ``probes`` calls go through, further ones are refused
               a probe fails                                            open, for another ``open_for``
               ``slow_rate`` of the probes are slow                     open, for another ``open_for``
               ``probes`` probes have succeeded otherwise               closed, nothing counted yet
               a probe ends without a result (cancelled)                half open, its permit is free again

Time passes only as callers say it does (``now``, in seconds on a clock that never goes back): nothing runs
in the background. Each change of state begins a new *generation*, and a call hands in its result under the
generation in which it was admitted; that of another one is ignored, because it tells about a time that is
over (a call begun before the circuit opened must not close it, nor open it again).

The rates are those of a window, the last ``window`` seconds or the last ``window_calls`` calls (see
`headrace_breaker.window`), and are looked at after each result, whatever that result was, once
``minimum_calls`` are in the window. A call is slow where it took longer than ``slow_after`` seconds,
whether it succeeded or failed.
"""

from __future__ import annotations

import enum
import math

import attrs

from headrace_breaker.window import CallWindow, TimeWindow, Window


class State(enum.Enum):
    """The three states of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.frozen(kw_only=True)
class Rules:
    """When a circuit opens and closes; see `headrace_breaker.Breaker`."""

    failure_rate: float | None
    slow_rate: float | None = None
    slow_after: float | None = None
    window: float | None = None
    window_calls: int | None = None
    minimum_calls: int
    consecutive: int | None
    down_after: float | None = None
    open_for: float
    probes: int

    def new_window(self) -> Window:
        """A window with nothing in it."""
        if self.window_calls is not None:
            return CallWindow(self.window_calls)
        assert self.window is not None
        return TimeWindow(self.window)


class Circuit:
    """One endpoint's circuit, by `Rules`; closed at first."""

    __slots__ = (
        "_begun",
        "_counts",
        "_down_after",
        "_failing_since",
        "_failure_rate",
        "_minimum",
        "_run",
        "_since",
        "_slow",
        "_slow_after",
        "_slow_rate",
        "_succeeded",
        "_window",
        "generation",
        "rules",
        "state",
    )

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        # A rule that is off has a bound that nothing reaches.
        self._failure_rate = math.inf if rules.failure_rate is None else rules.failure_rate
        self._slow_rate = math.inf if rules.slow_rate is None else rules.slow_rate
        self._slow_after = math.inf if rules.slow_after is None else rules.slow_after
        self._down_after = math.inf if rules.down_after is None else rules.down_after
        self._failing_since = 0.0
        self._counts = rules.failure_rate is not None or rules.slow_rate is not None
        # Of so many calls, no more can be in the window.
        self._minimum = min(rules.minimum_calls, rules.window_calls or rules.minimum_calls)
        self.generation = -1
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

    def succeed(self, generation: int, now: float, took: float = 0.0) -> None:
        """A call admitted in ``generation`` was answered, after ``took`` seconds."""
        if generation != self.generation:
            return
        if self.state is State.HALF_OPEN:
            self._probed(now, took)
            return
        self._run = 0
        if self._counts:
            window = self._window
            window.count(now, False, took > self._slow_after)
            if window.failed or window.slow:  # without either no rate is reached
                self._look(now)

    def fail(self, generation: int, now: float, took: float = 0.0) -> None:
        """A call admitted in ``generation`` failed through the endpoint's fault, after ``took`` seconds."""
        if generation != self.generation:
            return
        if self.state is State.HALF_OPEN:
            self._enter(State.OPEN, now)
            return
        if not self._run:
            self._failing_since = now
        self._run += 1
        down = self._run >= self.rules.minimum_calls and now - self._failing_since >= self._down_after
        if down or self._run == self.rules.consecutive:
            self._enter(State.OPEN, now)
        elif self._counts:
            self._window.count(now, True, took > self._slow_after)
            self._look(now)

    def abandon(self, generation: int) -> None:
        """A call admitted in ``generation`` ended without telling anything about the endpoint."""
        if generation == self.generation and self.state is State.HALF_OPEN:
            self._begun -= 1

    def _probed(self, now: float, took: float) -> None:
        """A probe was answered."""
        self._succeeded += 1
        self._slow += took > self._slow_after
        if self._slow >= self._slow_rate * self.rules.probes:
            self._enter(State.OPEN, now)
        elif self._succeeded == self.rules.probes:
            self._enter(State.CLOSED, now)

    def _look(self, now: float) -> None:
        """Open where a rate is reached."""
        window = self._window
        calls = window.calls
        if calls >= self._minimum and (
            window.failed >= self._failure_rate * calls or window.slow >= self._slow_rate * calls
        ):
            self._enter(State.OPEN, now)

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.generation += 1
        self._since = now
        self._begun = self._succeeded = self._slow = self._run = 0
        if state is State.CLOSED:
            self._window = self.rules.new_window()
