"""The circuit's state machine, without a loop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace_breaker.circuit import Circuit, Rules, State


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


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("SSSSSFFFF", State.CLOSED),
        ("SSSSSFFFFF", State.OPEN),
        ("FSSSSSSFFFF", State.CLOSED),  # the first failure is not of the last ten
        ("FSSSSSFFFF", State.OPEN),
        ("FSSSS", State.CLOSED),
        ("FFFFS", State.OPEN),
    ],
)
def test_the_failure_rate_over_the_last_calls(results: str, state: State) -> None:
    breaker = circuit(window=None, window_calls=10)
    feed(breaker, results)
    assert breaker.state is state


def test_the_last_calls_count_however_long_ago_they_were() -> None:
    breaker = circuit(window=None, window_calls=10)
    feed(breaker, "FFFF", 100.0)
    feed(breaker, "F", 1e6)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(("results", "state"), [("FFF", State.CLOSED), ("FFFF", State.OPEN)])
def test_more_than_the_window_holds_is_not_waited_for(results: str, state: State) -> None:
    breaker = circuit(window=None, window_calls=4, minimum_calls=20)
    feed(breaker, results)
    assert breaker.state is state


SLOW = {"failure_rate": None, "slow_after": 10.0, "slow_rate": 0.6}


def answer(breaker: Circuit, *took: float, now: float = 100.0) -> None:
    """Hand in successes that took so many seconds."""
    for seconds in took:
        assert breaker.admit(now)
        breaker.succeed(breaker.generation, now, seconds)


@pytest.mark.parametrize("window", [{"window": 20.0}, {"window": None, "window_calls": 5}])
@pytest.mark.parametrize(
    ("took", "state"),
    [
        ([11.0] * 4, State.CLOSED),
        ([10.0] * 50, State.CLOSED),  # slow is what takes longer
        ([1.0, 1.0, 1.0, 11.0, 11.0], State.CLOSED),
        ([1.0, 1.0, 11.0, 11.0, 11.0], State.OPEN),
        ([11.0, 11.0, 11.0, 1.0, 1.0], State.OPEN),
    ],
)
def test_the_rate_of_slow_calls(window: dict[str, Any], took: list[float], state: State) -> None:
    breaker = circuit(**SLOW, **window)
    answer(breaker, *took)
    assert breaker.state is state


def test_a_failure_may_be_slow_as_well() -> None:
    breaker = circuit(**SLOW)
    answer(breaker, 1.0, 1.0, 11.0, 11.0)
    breaker.fail(breaker.generation, 100.0, took=11.0)
    assert breaker.state is State.OPEN


def test_slow_calls_are_no_failures_in_a_row() -> None:
    breaker = circuit(failure_rate=None, consecutive=2)
    breaker.fail(breaker.generation, 100.0, took=1e6)
    answer(breaker, 1e6)
    breaker.fail(breaker.generation, 100.0, took=1e6)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("took", "state"),
    [
        ([11.0, 11.0], State.HALF_OPEN),
        ([11.0, 11.0, 1.0], State.HALF_OPEN),
        ([11.0, 11.0, 1.0, 1.0], State.CLOSED),
        ([11.0, 11.0, 11.0], State.OPEN),  # three of four are 60 %, whatever the fourth says
    ],
)
def test_slow_probes_open_it_again_by_their_rate(took: list[float], state: State) -> None:
    breaker = circuit(**SLOW, probes=4)
    answer(breaker, *[11.0] * 5)
    assert breaker.state is State.OPEN
    answer(breaker, *took, now=160.0)
    assert breaker.state is state
    if state is State.OPEN:
        assert breaker.due(160.0) == 60.0


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


class AnyCircuit(RuleBasedStateMachine):
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
        if before is State.CLOSED:
            assert admitted
        if before is State.OPEN:
            assert self.opened_at is not None
            assert admitted == (self.now >= self.opened_at + 60.0)
        if admitted:
            self.calls.append(self.circuit.generation)

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        how=st.sampled_from(["succeed", "fail", "abandon"]),
        took=st.sampled_from([1.0, 10.0, 11.0]),
    )
    def end(self, data: st.DataObject, how: str, took: float) -> None:
        generation = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before, current = self.circuit.state, self.circuit.generation
        if how == "abandon":
            self.circuit.abandon(generation)
            assert self.circuit.state is before
        elif how == "succeed":
            self.circuit.succeed(generation, self.now, took)
        else:
            self.circuit.fail(generation, self.now, took)
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
