"""The retry quota, without a loop."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import headrace
from headrace.replies import Headers
from headrace_retry.quota import RETRY_COST, TIMEOUT_COST, Quota, cost_of_retry


def test_a_timeout_costs_twice_as_much() -> None:
    assert cost_of_retry(headrace.CallTimeout("slow")) == TIMEOUT_COST == 10
    assert cost_of_retry(headrace.ServerError("failed", 503)) == RETRY_COST == 5
    assert cost_of_retry(headrace.ConnectError("refused")) == RETRY_COST


def test_what_this_machine_lacks_costs_nothing() -> None:
    assert cost_of_retry(headrace.LocalResourceError("no file left")) == 0


def limited(*headers: tuple[bytes, bytes]) -> headrace.RateLimited:
    return headrace.RateLimited("too many", 429, Headers([*headers]))


def test_keeping_to_a_rate_costs_nothing_where_the_endpoint_says_when_to_come_back() -> None:
    assert cost_of_retry(limited((b"retry-after", b"20"))) == 0
    assert cost_of_retry(limited()) == cost_of_retry(limited((b"retry-after", b"rubbish"))) == RETRY_COST
    busy = headrace.ServerError("busy", 503, Headers([(b"retry-after", b"20")]))
    assert cost_of_retry(busy) == RETRY_COST
    quota = Quota(0)
    assert quota.take(0)
    assert not quota.used_up


def test_what_is_not_there_is_not_taken() -> None:
    quota = Quota(12)
    assert quota.take(TIMEOUT_COST)
    assert not quota.take(RETRY_COST)
    assert quota.left == 2


def test_a_success_at_the_first_try_is_worth_one_token_and_there_is_never_more_than_at_first() -> None:
    quota = Quota(500)
    quota.succeeded(0)
    assert quota.left == 500
    assert quota.take(RETRY_COST)
    quota.succeeded(0)
    assert quota.left == 496
    quota.succeeded(RETRY_COST)
    assert quota.left == 500


def test_it_is_used_up_until_half_of_it_is_there_again() -> None:
    quota = Quota(20)
    for _ in range(4):
        assert quota.take(RETRY_COST)
        assert not quota.used_up
    assert not quota.take(RETRY_COST)
    assert quota.used_up
    for _ in range(9):
        quota.succeeded(0)
    assert quota.take(RETRY_COST)
    quota.give_back(RETRY_COST)
    assert quota.used_up
    quota.succeeded(0)
    assert not quota.used_up


def test_an_infinite_one_is_never_used_up() -> None:
    quota = Quota(math.inf)
    assert all(quota.take(TIMEOUT_COST) for _ in range(1000))
    quota.succeeded(RETRY_COST)
    assert quota.left == quota.capacity == math.inf


class AnyCalls(RuleBasedStateMachine):
    """Calls begin, fail, wait, are cancelled and succeed in any order."""

    @initialize(capacity=st.integers(0, 60))
    def make(self, capacity: int) -> None:
        self.quota = Quota(capacity)
        self.sent: list[int] = []  # what the last retry of each call under way took, 0 for a first try
        self.waiting: list[int] = []
        self.taken = self.given_back = self.earned = 0

    @rule()
    def begin(self) -> None:
        self.sent.append(0)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), error=st.sampled_from([headrace.CallTimeout("slow"), headrace.ServerError("503")]))
    def fail(self, data: st.DataObject, error: headrace.CallError) -> None:
        self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        before, cost = self.quota.left, cost_of_retry(error)
        allowed = self.quota.take(cost)
        assert allowed == (before >= cost)
        assert self.quota.left == (before - cost if allowed else before)
        if allowed:
            self.taken += cost
            self.waiting.append(cost)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        self.sent.append(self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_while_waiting(self, data: st.DataObject) -> None:
        cost, before = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))), self.quota.left
        self.quota.give_back(cost)
        assert self.quota.left == min(self.quota.capacity, before + cost)
        self.given_back += cost

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        cost, before = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1))), self.quota.left
        self.quota.succeeded(cost)
        assert self.quota.left == min(self.quota.capacity, before + (cost or 1))
        self.given_back += cost
        self.earned += 0 if cost else 1

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel_under_way(self, data: st.DataObject) -> None:
        self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))

    @invariant()
    def it_is_within_its_bounds(self) -> None:
        assert 0 <= self.quota.left <= self.quota.capacity

    @invariant()
    def no_more_comes_back_than_was_taken(self) -> None:
        under_way = sum(self.waiting) + sum(self.sent)
        assert self.given_back + under_way <= self.taken
        assert self.taken <= self.quota.capacity + self.given_back + self.earned


TestAnyCalls = AnyCalls.TestCase
TestAnyCalls.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
