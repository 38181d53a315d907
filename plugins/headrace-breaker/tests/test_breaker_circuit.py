"""The circuit's state machine, without a loop."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace_breaker.circuit import BUCKETS, Circuit, Rules, State, Window


def circuit(**changes: Any) -> Circuit:
    defaults: dict[str, Any] = {
        "failure_rate": 0.5,
        "window": 20.0,
        "minimum_calls": 5,
        "consecutive": None,
        "open_for": 60.0,
        "probes": 1,
    }
    return Circuit(Rules(**defaults | changes))


def feed(breaker: Circuit, results: str, start: float = 100.0) -> float:
    """Hand in results, S or F, a second apart; returns the time of the next one."""
    for result in results:
        assert breaker.admit(start)
        (breaker.succeed if result == "S" else breaker.fail)(breaker.generation, start)
        start += 1.0
    return start


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("SSSFF", State.CLOSED),
        ("SSSFFF", State.OPEN),
        ("FFFSS", State.OPEN),
        ("FFFF", State.CLOSED),
        ("FFFFF", State.OPEN),
        ("S" * 50, State.CLOSED),
    ],
)
def test_the_failure_rate_over_a_window(results: str, state: State) -> None:
    breaker = circuit()
    feed(breaker, results)
    assert breaker.state is state


def test_what_is_older_than_the_window_counts_no_more() -> None:
    breaker = circuit()
    after = feed(breaker, "FFFF")
    feed(breaker, "F", after + 20.0)
    assert breaker.state is State.CLOSED


def test_a_result_still_counts_within_the_window() -> None:
    breaker = circuit()
    feed(breaker, "FFFF", 100.0)
    feed(breaker, "F", 119.5)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(("results", "state"), [("FFFFSFFFF", State.CLOSED), ("FFFFSFFFFF", State.OPEN)])
def test_failures_in_a_row(results: str, state: State) -> None:
    breaker = circuit(failure_rate=None, consecutive=5)
    feed(breaker, results)
    assert breaker.state is state


def test_either_rule_opens() -> None:
    breaker = circuit(consecutive=2)
    feed(breaker, "SFF")
    assert breaker.state is State.OPEN


def opened(**changes: Any) -> tuple[Circuit, float]:
    breaker = circuit(**changes)
    return breaker, feed(breaker, "FFFFF") - 1.0


def test_open_until_its_time_has_passed() -> None:
    breaker, since = opened()
    assert not breaker.admit(since + 59.9)
    assert breaker.due(since + 45.0) == 15.0
    assert breaker.admit(since + 60.0)
    assert breaker.state is State.HALF_OPEN


def test_half_open_with_four_permits_refuses_the_fifth() -> None:
    breaker, since = opened(probes=4)
    now = since + 60.0
    assert [breaker.admit(now) for _ in range(5)] == [True, True, True, True, False]
    assert breaker.due(now) == 0.0
    breaker.abandon(breaker.generation)
    assert breaker.admit(now)
    assert not breaker.admit(now)


def test_closes_once_all_probes_succeeded() -> None:
    breaker, since = opened(probes=3)
    for _ in range(3):
        assert breaker.state is not State.CLOSED
        assert breaker.admit(since + 60.0)
        breaker.succeed(breaker.generation, since + 61.0)
    assert breaker.state is State.CLOSED
    # The failures of before are forgotten.
    feed(breaker, "SSSFF", since + 62.0)
    assert breaker.state is State.CLOSED


def test_a_failed_probe_opens_it_for_as_long_again() -> None:
    breaker, since = opened(probes=3)
    for _ in range(3):
        breaker.admit(since + 60.0)
    probes = breaker.generation
    breaker.succeed(probes, since + 61.0)
    breaker.fail(probes, since + 62.0)
    assert breaker.due(since + 62.0) == 60.0
    # The other probe was of the state that is over.
    breaker.fail(probes, since + 90.0)
    assert breaker.due(since + 90.0) == 32.0


def test_a_result_from_before_it_opened_is_ignored() -> None:
    breaker, since = opened()
    before = breaker.generation - 1
    assert breaker.admit(since + 60.0)
    breaker.succeed(before, since + 61.0)
    breaker.fail(before, since + 61.0)
    breaker.abandon(before)
    assert breaker.state is State.HALF_OPEN
    assert not breaker.admit(since + 61.0)


def test_flapping() -> None:
    breaker, now = opened()
    for _ in range(1000):
        now += 60.0
        assert breaker.admit(now)
        assert not breaker.admit(now)
        breaker.fail(breaker.generation, now)
        assert breaker.state is State.OPEN
        assert not breaker.admit(now + 59.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans()), max_size=200), st.sampled_from([1.0, 20.0, 60.0])
)
def test_the_window_counts_as_a_list_of_all_results_would(
    results: list[tuple[float, bool]], length: float
) -> None:
    window, seen, now = Window(length), deque[tuple[int, bool]](), 1000.0
    for wait, failed in results:
        now += wait
        window.count(now, failed)
        latest = int(now / (length / BUCKETS))
        seen.append((latest, failed))
        recent = [failed for slice_, failed in seen if slice_ > latest - BUCKETS]
        assert (window.calls, window.failed) == (len(recent), sum(recent))


class AnyCircuit(RuleBasedStateMachine):
    """Calls begin, end and are cancelled in any order while time passes."""

    @initialize(
        rate=st.sampled_from([None, 0.5, 1.0]),
        consecutive=st.sampled_from([1, 3, 5]),
        probes=st.integers(1, 4),
        minimum=st.integers(1, 5),
    )
    def make(self, rate: float | None, consecutive: int, probes: int, minimum: int) -> None:
        self.circuit = circuit(
            failure_rate=rate, consecutive=consecutive, probes=probes, minimum_calls=minimum
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
        if before is State.CLOSED:
            assert admitted
        if before is State.OPEN:
            assert self.opened_at is not None
            assert admitted == (self.now >= self.opened_at + 60.0)
        if admitted:
            self.calls.append(self.circuit.generation)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "abandon"]))
    def end(self, data: st.DataObject, how: str) -> None:
        generation = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before, current = self.circuit.state, self.circuit.generation
        if how == "abandon":
            self.circuit.abandon(generation)
            assert self.circuit.state is before
        elif how == "succeed":
            self.circuit.succeed(generation, self.now)
        else:
            self.circuit.fail(generation, self.now)
        if generation != current:
            assert self.circuit.generation == current
        elif before is State.HALF_OPEN and how == "fail":
            assert self.circuit.state is State.OPEN
        if self.circuit.state is State.OPEN and before is not State.OPEN:
            self.opened_at = self.now

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        if self.circuit.state is State.HALF_OPEN:
            assert self.calls.count(self.circuit.generation) <= self.circuit.rules.probes

    @invariant()
    def nothing_of_an_open_circuit_is_under_way(self) -> None:
        if self.circuit.state is State.OPEN:
            assert self.circuit.generation not in self.calls
            assert 0.0 <= self.circuit.due(self.now) <= 60.0 + 1e-6


TestAnyCircuit = AnyCircuit.TestCase
TestAnyCircuit.settings = settings(max_examples=50, stateful_step_count=60, deadline=None)
