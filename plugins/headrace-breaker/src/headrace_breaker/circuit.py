"""The circuit of one endpoint: a state machine without I/O, after Michael Nygard, "Release It!".

    state      what happens                                             next state
    ---------  -------------------------------------------------------  ------------------------------
    closed     every call goes through, its result is recorded
               the failure rate or the slow rate is reached             open
               ``consecutive`` calls fail in a row                      open
               only failures for ``down_after`` seconds                 open
    open       every call is refused
               a call comes after ``open_for`` seconds or later         half open, the call is a probe
    half open  ``probes`` calls go through, further ones are refused
               a probe fails                                            open for another ``open_for``
               ``slow_rate`` of the probes are slow                     open for another ``open_for``
               ``probes`` probes have succeeded otherwise               closed, with an empty window
               a probe ends without a result (cancelled)                half open, its permit is free again

The caller passes the time (``now``, in seconds on a clock that never goes back); nothing runs in the
background. Each change of state begins a new *generation*. A call records its result under the generation
in which it was admitted, and a result of an earlier generation is ignored: a call that began before the
circuit opened must neither close it nor open it again.

The rates are those of a window: the last ``window`` seconds or the last ``window_calls`` calls (see
`headrace_breaker.window`). They are checked after each result once the window has ``minimum_calls`` results.
A call is slow if it took longer than ``slow_after`` seconds, whether it succeeded or failed.
"""

from __future__ import annotations

import enum
import math

import attrs

from headrace_breaker.window import CallWindow, TimeWindow, Window


class CircuitState(enum.Enum):
    """The three states of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.frozen(kw_only=True)
class CircuitConfig:
    """The conditions under which a circuit opens and closes; see `headrace_breaker.Breaker`."""

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
        """An empty window."""
        if self.window_calls is not None:
            return CallWindow(self.window_calls)
        assert self.window is not None
        return TimeWindow(self.window)


class Circuit:
    """The circuit of one endpoint; closed at first."""

    __slots__ = (
        "_consecutive_failures",
        "_down_after",
        "_failing_since",
        "_failure_rate",
        "_has_rates",
        "_minimum_calls",
        "_probes_admitted",
        "_probes_slow",
        "_probes_succeeded",
        "_slow_after",
        "_slow_rate",
        "_state_since",
        "_window",
        "config",
        "generation",
        "state",
    )

    def __init__(self, config: CircuitConfig) -> None:
        self.config: CircuitConfig = config
        # A condition that is off has a threshold that nothing reaches.
        self._failure_rate = math.inf if config.failure_rate is None else config.failure_rate
        self._slow_rate = math.inf if config.slow_rate is None else config.slow_rate
        self._slow_after = math.inf if config.slow_after is None else config.slow_after
        self._down_after = math.inf if config.down_after is None else config.down_after
        self._failing_since = 0.0
        self._has_rates = config.failure_rate is not None or config.slow_rate is not None
        # The window never holds more results than window_calls.
        self._minimum_calls = min(config.minimum_calls, config.window_calls or config.minimum_calls)
        self.generation: int = -1
        self._enter(CircuitState.CLOSED, 0.0)

    def admit(self, now: float) -> bool:
        """Whether a call may go through now; if so, it belongs to the current `generation`."""
        if self.state is CircuitState.CLOSED:
            return True
        if self.state is CircuitState.OPEN:
            if self.retry_after(now) > 0:
                return False
            self._enter(CircuitState.HALF_OPEN, now)
        if self._probes_admitted == self.config.probes:
            return False
        self._probes_admitted += 1
        return True

    def retry_after(self, now: float) -> float:
        """Seconds until the next probe is let through; 0 if that does not depend on time."""
        if self.state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, self._state_since + self.config.open_for - now)

    def record_success(self, generation: int, now: float, took: float = 0.0) -> None:
        """Record that the endpoint answered a call admitted in ``generation``, after ``took`` seconds."""
        if generation != self.generation:
            return
        if self.state is CircuitState.HALF_OPEN:
            self._record_probe_success(now, took)
            return
        self._consecutive_failures = 0
        if self._has_rates:
            window = self._window
            window.record(now, False, took > self._slow_after)
            if window.failed or window.slow:  # without either no rate is reached
                self._check_rates(now)

    def record_failure(self, generation: int, now: float, took: float = 0.0) -> None:
        """Record that the endpoint failed a call admitted in ``generation``, after ``took`` seconds."""
        if generation != self.generation:
            return
        if self.state is CircuitState.HALF_OPEN:
            self._enter(CircuitState.OPEN, now)
            return
        if not self._consecutive_failures:
            self._failing_since = now
        self._consecutive_failures += 1
        failures = self._consecutive_failures
        is_down = failures >= self.config.minimum_calls and now - self._failing_since >= self._down_after
        if is_down or failures == self.config.consecutive:
            self._enter(CircuitState.OPEN, now)
        elif self._has_rates:
            self._window.record(now, True, took > self._slow_after)
            self._check_rates(now)

    def release_permit(self, generation: int) -> None:
        """A call admitted in ``generation`` ended without a result: free its permit if it was a probe."""
        if generation == self.generation and self.state is CircuitState.HALF_OPEN:
            self._probes_admitted -= 1

    def _record_probe_success(self, now: float, took: float) -> None:
        """Record a probe that was answered; close or reopen the circuit if that decides it."""
        self._probes_succeeded += 1
        self._probes_slow += took > self._slow_after
        if self._probes_slow >= self._slow_rate * self.config.probes:
            self._enter(CircuitState.OPEN, now)
        elif self._probes_succeeded == self.config.probes:
            self._enter(CircuitState.CLOSED, now)

    def _check_rates(self, now: float) -> None:
        """Open if a rate is reached."""
        window = self._window
        calls = window.calls
        if calls >= self._minimum_calls and (
            window.failed >= self._failure_rate * calls or window.slow >= self._slow_rate * calls
        ):
            self._enter(CircuitState.OPEN, now)

    def _enter(self, state: CircuitState, now: float) -> None:
        """Change the state and begin a new generation."""
        self.state: CircuitState = state
        self.generation += 1
        self._state_since = now
        self._probes_admitted = self._probes_succeeded = self._probes_slow = 0
        self._consecutive_failures = 0
        if state is CircuitState.CLOSED:
            self._window = self.config.new_window()
