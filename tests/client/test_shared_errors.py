"""Detection of errors that all later calls share; without an event loop."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.client.shared_errors import MIN_ITEMS, SharedErrorDetector
from headrace.wire.error_scope import ErrorScope, SharedError

QUOTA = SharedError("429 insufficient_quota", ErrorScope.ACCOUNT)
MODEL = SharedError("404 model_not_found", ErrorScope.SETTING)
BUDGET = SharedError("budget_exceeded", ErrorScope.RUN)


def begun(rule: SharedErrorDetector[int], number: int) -> list[int]:
    return [rule.begin() for _ in range(number)]


def test_the_same_error_of_three_items_is_a_verdict() -> None:
    rule = SharedErrorDetector[int]()
    begun(rule, 5)
    for item in range(3):
        assert rule.verdict is None
        assert rule.fail(item, MODEL, item) == []
    assert rule.verdict is not None
    assert (rule.verdict.error, rule.verdict.first) == (MODEL, 0)
    assert rule.settle(exhausted=True) == []


def test_three_failures_of_one_item_count_once() -> None:
    rule = SharedErrorDetector[int]()
    begun(rule, 3)
    for _ in range(3):
        rule.fail(7, MODEL, 7)
    assert rule.verdict is None


def test_different_errors_are_counted_separately() -> None:
    rule = SharedErrorDetector[int]()
    for item, error in enumerate([MODEL, QUOTA, MODEL, QUOTA]):
        rule.fail(item, error, item)
    assert rule.verdict is None


def test_only_a_call_that_began_after_the_first_error_refutes_it() -> None:
    rule = SharedErrorDetector[int]()
    early = begun(rule, 4)
    rule.fail(0, QUOTA, 0)
    rule.fail(1, QUOTA, 1)
    assert rule.succeed(early[-1]) == []
    late = rule.begin()
    assert rule.succeed(late) == [0, 1]
    assert rule.held == 0
    rule.fail(2, QUOTA, 2)
    assert rule.verdict is None, "counting begins anew"


def test_a_call_of_another_kind_refutes_no_error_in_a_setting() -> None:
    rule = SharedErrorDetector[int]()
    rule.fail(0, MODEL, 0, 1)
    rule.fail(1, QUOTA, 1, 1)
    assert rule.succeed(rule.begin(), 0) == [1]
    assert rule.succeed(rule.begin(), 1) == [0]
    for item in range(MIN_ITEMS):
        rule.fail(item, MODEL, item, 1)
    rule.succeed(rule.begin(), 0)
    assert rule.verdict is not None


def test_a_running_call_that_succeeds_revokes_a_verdict() -> None:
    rule = SharedErrorDetector[int]()
    begun(rule, 1)
    rule.fail(0, MODEL, 0)
    late = rule.begin()
    rule.fail(1, MODEL, 1)
    rule.fail(2, MODEL, 2)
    assert rule.verdict is not None
    assert rule.succeed(late) == [0, 1, 2]
    assert rule.verdict is None


def test_the_callers_own_limit_is_final_at_once() -> None:
    rule = SharedErrorDetector[int]()
    begun(rule, 1)
    rule.fail(0, BUDGET, 0)
    rule.succeed(rule.begin())
    assert rule.verdict is not None
    assert rule.settle(exhausted=True) == []


def test_at_the_end_an_error_of_the_account_is_the_verdict() -> None:
    rule = SharedErrorDetector[int]()
    begun(rule, 2)
    rule.fail(0, MODEL, 0)
    rule.fail(1, QUOTA, 1)
    assert rule.settle(exhausted=True) == [0]
    assert rule.verdict is not None
    assert rule.verdict.error == QUOTA


def three_of_ten(rule: SharedErrorDetector[int], error: SharedError) -> None:
    """Ten calls begin, three fail with the error, then one of the others succeeds."""
    numbers = begun(rule, 10)
    for item in range(3):
        rule.fail(item, error, item)
    rule.succeed(numbers[-1])


def test_at_the_end_of_the_input_an_earlier_call_can_refute_an_error() -> None:
    rule = SharedErrorDetector[int]()
    three_of_ten(rule, MODEL)
    assert rule.settle(exhausted=True) == [0, 1, 2]
    assert rule.verdict is None


def test_before_the_end_of_the_input_an_earlier_call_cannot_refute_an_error() -> None:
    rule = SharedErrorDetector[int]()
    three_of_ten(rule, MODEL)
    assert rule.settle(exhausted=False) == []
    assert rule.verdict is not None


def test_an_error_of_the_account_is_shared_in_both_cases() -> None:
    for exhausted in (True, False):
        rule = SharedErrorDetector[int]()
        three_of_ten(rule, QUOTA)
        assert rule.settle(exhausted=exhausted) == []
        assert rule.verdict is not None


def test_without_a_later_success_an_error_is_shared_at_the_end() -> None:
    rule = SharedErrorDetector[int]()
    for item, _ in enumerate(begun(rule, 3)):
        rule.fail(item, MODEL, item)
    assert rule.settle(exhausted=True) == []
    assert rule.verdict is not None


def test_the_number_of_held_items_is_limited() -> None:
    rule = SharedErrorDetector[int](max_held=10)
    released = []
    for item in range(100):
        released += rule.fail(item, SharedError(f"404 model {item}", ErrorScope.SETTING), item)
        assert rule.held <= 10
    assert released + rule.settle(exhausted=True) == list(range(100))


class Rule(RuleBasedStateMachine):
    """Compares the detector with a model that keeps the whole history."""

    def __init__(self) -> None:
        super().__init__()
        self.rule = SharedErrorDetector[int]()
        self.running: list[tuple[int, int]] = []
        self.begun = 0
        self.history: dict[str, list[tuple[int, int]]] = {}
        self.written: set[int] = set()
        self.sent: set[int] = set()

    @rule()
    def begin(self) -> None:
        number = self.rule.begin()
        self.begun += 1
        assert number == self.begun
        self.running.append((number, number))
        self.sent.add(number)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), error=st.sampled_from([QUOTA, MODEL]))
    def fail(self, data: st.DataObject, error: SharedError) -> None:
        _, item = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.history.setdefault(error.key, []).append((self.begun, item))
        self.release(self.rule.fail(item, error, item))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        number, item = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        expected: list[int] = []
        for key, errors in list(self.history.items()):
            if errors[0][0] < number:
                expected += [failed for _, failed in self.history.pop(key)]
        released = self.rule.succeed(number)
        assert sorted(released) == sorted(expected)
        self.release([*released, item])

    def release(self, items: list[int]) -> None:
        assert not self.written & set(items), "an item is written once"
        self.written |= set(items)

    @invariant()
    def stops_for_what_three_items_share(self) -> None:
        enough = {
            key for key, errors in self.history.items() if len({item for _, item in errors}) >= MIN_ITEMS
        }
        verdict = self.rule.verdict
        assert (verdict is not None) == bool(enough)
        assert verdict is None or verdict.error.key in enough

    @invariant()
    def each_item_is_under_way_held_or_written(self) -> None:
        held = {item for errors in self.history.values() for _, item in errors}
        assert self.rule.held == len(held)
        assert held | self.written | {item for _, item in self.running} == self.sent
        assert not held & self.written


TestRule = Rule.TestCase
