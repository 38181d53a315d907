"""The circuit's state machine, without a loop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace_breaker.circuit import Circuit, CircuitConfig, CircuitState


def circuit(**changes: Any) -> Circuit:
    defaults: dict[str, Any] = {
        "failure_rate": 0.5,
        "window": 20.0,
        "minimum_calls": 5,
        "consecutive": None,
        "open_for": 60.0,
        "probes": 1,
    }
    return Circuit(CircuitConfig(**defaults | changes))


def record(breaker: Circuit, results: str, start: float = 100.0) -> float:
    """Record results, S (success) or F (failure), one per second; returns the time of the next one."""
    for result in results:
        assert breaker.admit(start)
        (breaker.record_success if result == "S" else breaker.record_failure)(breaker.generation, start)
        start += 1.0
    return start


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("SSSFF", CircuitState.CLOSED),
        ("SSSFFF", CircuitState.OPEN),
        ("FFFSS", CircuitState.OPEN),
        ("FFFF", CircuitState.CLOSED),
        ("FFFFF", CircuitState.OPEN),
        ("S" * 50, CircuitState.CLOSED),
    ],
)
def test_failure_rate_over_a_time_window(results: str, state: CircuitState) -> None:
    breaker = circuit()
    record(breaker, results)
    assert breaker.state is state


def test_results_older_than_the_window_do_not_count() -> None:
    breaker = circuit()
    after = record(breaker, "FFFF")
    record(breaker, "F", after + 20.0)
    assert breaker.state is CircuitState.CLOSED


def test_results_within_the_window_count() -> None:
    breaker = circuit()
    record(breaker, "FFFF", 100.0)
    record(breaker, "F", 119.5)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("results", "state"), [("FFFFSFFFF", CircuitState.CLOSED), ("FFFFSFFFFF", CircuitState.OPEN)]
)
def test_consecutive_failures_open_the_circuit(results: str, state: CircuitState) -> None:
    breaker = circuit(failure_rate=None, consecutive=5)
    record(breaker, results)
    assert breaker.state is state


def test_either_condition_opens_the_circuit() -> None:
    breaker = circuit(consecutive=2)
    record(breaker, "SFF")
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("SSSSSFFFF", CircuitState.CLOSED),
        ("SSSSSFFFFF", CircuitState.OPEN),
        ("FSSSSSSFFFF", CircuitState.CLOSED),  # the first failure is not among the last ten
        ("FSSSSSFFFF", CircuitState.OPEN),
        ("FSSSS", CircuitState.CLOSED),
        ("FFFFS", CircuitState.OPEN),
    ],
)
def test_failure_rate_over_a_call_window(results: str, state: CircuitState) -> None:
    breaker = circuit(window=None, window_calls=10)
    record(breaker, results)
    assert breaker.state is state


def test_call_window_ignores_elapsed_time() -> None:
    breaker = circuit(window=None, window_calls=10)
    record(breaker, "FFFF", 100.0)
    record(breaker, "F", 1e6)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(("results", "state"), [("FFF", CircuitState.CLOSED), ("FFFF", CircuitState.OPEN)])
def test_minimum_calls_is_at_most_window_calls(results: str, state: CircuitState) -> None:
    breaker = circuit(window=None, window_calls=4, minimum_calls=20)
    record(breaker, results)
    assert breaker.state is state


SLOW = {"failure_rate": None, "slow_after": 10.0, "slow_rate": 0.6}


def answer(breaker: Circuit, *took: float, now: float = 100.0) -> None:
    """Record successes that took this many seconds each."""
    for seconds in took:
        assert breaker.admit(now)
        breaker.record_success(breaker.generation, now, seconds)


@pytest.mark.parametrize("window", [{"window": 20.0}, {"window": None, "window_calls": 5}])
@pytest.mark.parametrize(
    ("took", "state"),
    [
        ([11.0] * 4, CircuitState.CLOSED),
        ([10.0] * 50, CircuitState.CLOSED),  # slow means longer than slow_after
        ([1.0, 1.0, 1.0, 11.0, 11.0], CircuitState.CLOSED),
        ([1.0, 1.0, 11.0, 11.0, 11.0], CircuitState.OPEN),
        ([11.0, 11.0, 11.0, 1.0, 1.0], CircuitState.OPEN),
    ],
)
def test_slow_rate_opens_the_circuit(window: dict[str, Any], took: list[float], state: CircuitState) -> None:
    breaker = circuit(**SLOW, **window)
    answer(breaker, *took)
    assert breaker.state is state


def test_slow_failure_counts_as_slow() -> None:
    breaker = circuit(**SLOW)
    answer(breaker, 1.0, 1.0, 11.0, 11.0)
    breaker.record_failure(breaker.generation, 100.0, took=11.0)
    assert breaker.state is CircuitState.OPEN


def test_slow_success_ends_a_row_of_failures() -> None:
    breaker = circuit(failure_rate=None, consecutive=2)
    breaker.record_failure(breaker.generation, 100.0, took=1e6)
    answer(breaker, 1e6)
    breaker.record_failure(breaker.generation, 100.0, took=1e6)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("took", "state"),
    [
        ([11.0, 11.0], CircuitState.HALF_OPEN),
        ([11.0, 11.0, 1.0], CircuitState.HALF_OPEN),
        ([11.0, 11.0, 1.0, 1.0], CircuitState.CLOSED),
        ([11.0, 11.0, 11.0], CircuitState.OPEN),  # three of four exceed 60 %, whatever the fourth does
    ],
)
def test_slow_rate_of_probes_reopens_the_circuit(took: list[float], state: CircuitState) -> None:
    breaker = circuit(**SLOW, probes=4)
    answer(breaker, *[11.0] * 5)
    assert breaker.state is CircuitState.OPEN
    answer(breaker, *took, now=160.0)
    assert breaker.state is state
    if state is CircuitState.OPEN:
        assert breaker.retry_after(160.0) == 60.0


def opened(**changes: Any) -> tuple[Circuit, float]:
    breaker = circuit(**changes)
    return breaker, record(breaker, "FFFFF") - 1.0


def test_circuit_stays_open_for_open_for_seconds() -> None:
    breaker, since = opened()
    assert not breaker.admit(since + 59.9)
    assert breaker.retry_after(since + 45.0) == 15.0
    assert breaker.admit(since + 60.0)
    assert breaker.state is CircuitState.HALF_OPEN


def test_half_open_circuit_refuses_a_fifth_of_four_probes() -> None:
    breaker, since = opened(probes=4)
    now = since + 60.0
    assert [breaker.admit(now) for _ in range(5)] == [True, True, True, True, False]
    assert breaker.retry_after(now) == 0.0
    breaker.release_permit(breaker.generation)
    assert breaker.admit(now)
    assert not breaker.admit(now)


def test_circuit_closes_when_all_probes_succeed() -> None:
    breaker, since = opened(probes=3)
    for _ in range(3):
        assert breaker.state is not CircuitState.CLOSED
        assert breaker.admit(since + 60.0)
        breaker.record_success(breaker.generation, since + 61.0)
    assert breaker.state is CircuitState.CLOSED
    # Earlier failures are forgotten.
    record(breaker, "SSSFF", since + 62.0)
    assert breaker.state is CircuitState.CLOSED


def test_failed_probe_reopens_for_the_full_time() -> None:
    breaker, since = opened(probes=3)
    for _ in range(3):
        breaker.admit(since + 60.0)
    probes = breaker.generation
    breaker.record_success(probes, since + 61.0)
    breaker.record_failure(probes, since + 62.0)
    assert breaker.retry_after(since + 62.0) == 60.0
    # The other probe belongs to an earlier state.
    breaker.record_failure(probes, since + 90.0)
    assert breaker.retry_after(since + 90.0) == 32.0


def test_result_from_an_earlier_state_is_ignored() -> None:
    breaker, since = opened()
    before = breaker.generation - 1
    assert breaker.admit(since + 60.0)
    breaker.record_success(before, since + 61.0)
    breaker.record_failure(before, since + 61.0)
    breaker.release_permit(before)
    assert breaker.state is CircuitState.HALF_OPEN
    assert not breaker.admit(since + 61.0)


def test_repeated_probe_failures_keep_the_circuit_open() -> None:
    breaker, now = opened()
    for _ in range(1000):
        now += 60.0
        assert breaker.admit(now)
        assert not breaker.admit(now)
        breaker.record_failure(breaker.generation, now)
        assert breaker.state is CircuitState.OPEN
        assert not breaker.admit(now + 59.0)


class CircuitMachine(RuleBasedStateMachine):
    """Calls begin, end and are cancelled in any order while time passes."""

    @initialize(
        rate=st.sampled_from([None, 0.5, 1.0]),
        consecutive=st.sampled_from([1, 3, 5]),
        probes=st.integers(1, 4),
        minimum=st.integers(1, 5),
        window=st.sampled_from([{"window": 20.0}, {"window": None, "window_calls": 3}]),
        slow=st.sampled_from([{}, {"slow_after": 10.0, "slow_rate": 0.5}]),
    )
    def make(
        self,
        rate: float | None,
        consecutive: int,
        probes: int,
        minimum: int,
        window: dict[str, Any],
        slow: dict[str, Any],
    ) -> None:
        self.circuit = circuit(
            failure_rate=rate,
            consecutive=consecutive,
            probes=probes,
            minimum_calls=minimum,
            **window,
            **slow,
        )
        self.now = 1000.0
        self.opened_at: float | None = None
        self.calls: list[int] = []

    @rule(seconds=st.floats(0.0, 70.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        before = self.circuit.state
        admitted = self.circuit.admit(self.now)
        if before is CircuitState.CLOSED:
            assert admitted
        if before is CircuitState.OPEN:
            assert self.opened_at is not None
            assert admitted == (self.now >= self.opened_at + 60.0)
        if admitted:
            self.calls.append(self.circuit.generation)

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        result=st.sampled_from(["success", "failure", "none"]),
        took=st.sampled_from([1.0, 10.0, 11.0]),
    )
    def end(self, data: st.DataObject, result: str, took: float) -> None:
        generation = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before, current = self.circuit.state, self.circuit.generation
        if result == "none":
            self.circuit.release_permit(generation)
            assert self.circuit.state is before
        elif result == "success":
            self.circuit.record_success(generation, self.now, took)
        else:
            self.circuit.record_failure(generation, self.now, took)
        if generation != current:
            assert self.circuit.generation == current
        elif before is CircuitState.HALF_OPEN and result == "failure":
            assert self.circuit.state is CircuitState.OPEN
        if self.circuit.state is CircuitState.OPEN and before is not CircuitState.OPEN:
            self.opened_at = self.now

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        if self.circuit.state is CircuitState.HALF_OPEN:
            assert self.calls.count(self.circuit.generation) <= self.circuit.config.probes

    @invariant()
    def open_circuit_has_no_calls_in_flight(self) -> None:
        if self.circuit.state is CircuitState.OPEN:
            assert self.circuit.generation not in self.calls
            assert 0.0 <= self.circuit.retry_after(self.now) <= 60.0 + 1e-6


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = settings(max_examples=50, stateful_step_count=60, deadline=None)
