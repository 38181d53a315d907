"""The retry quota, without an event loop."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import headrace
from headrace.replies import Headers
from headrace_retry.quota import RETRY_COST, TIMEOUT_COST, Quota, cost_of_retry


def test_a_retry_after_a_timeout_costs_twice_as_much() -> None:
    assert cost_of_retry(headrace.CallTimeout("slow")) == TIMEOUT_COST == 10
    assert cost_of_retry(headrace.ServerError("failed", 503)) == RETRY_COST == 5
    assert cost_of_retry(headrace.ConnectError("refused")) == RETRY_COST


def test_a_retry_after_a_local_resource_error_costs_nothing() -> None:
    assert cost_of_retry(headrace.LocalResourceError("no file left")) == 0


def limited(*headers: tuple[bytes, bytes]) -> headrace.RateLimited:
    return headrace.RateLimited("too many", 429, Headers([*headers]))


def test_a_retry_after_a_429_with_retry_after_costs_nothing() -> None:
    assert cost_of_retry(limited((b"retry-after", b"20"))) == 0
    assert cost_of_retry(limited()) == cost_of_retry(limited((b"retry-after", b"rubbish"))) == RETRY_COST
    busy = headrace.ServerError("busy", 503, Headers([(b"retry-after", b"20")]))
    assert cost_of_retry(busy) == RETRY_COST
    quota = Quota(0)
    assert quota.try_acquire(0)
    assert not quota.exhausted


def test_a_retry_is_rejected_if_too_few_tokens_are_left() -> None:
    quota = Quota(12)
    assert quota.try_acquire(TIMEOUT_COST)
    assert not quota.try_acquire(RETRY_COST)
    assert quota.left == 2


def test_a_success_returns_its_cost_or_one_token_up_to_the_capacity() -> None:
    quota = Quota(500)
    quota.record_success(0)
    assert quota.left == 500
    assert quota.try_acquire(RETRY_COST)
    quota.record_success(0)
    assert quota.left == 496
    quota.record_success(RETRY_COST)
    assert quota.left == 500


def test_the_quota_is_exhausted_until_half_of_it_is_back() -> None:
    quota = Quota(20)
    for _ in range(4):
        assert quota.try_acquire(RETRY_COST)
        assert not quota.exhausted
    assert not quota.try_acquire(RETRY_COST)
    assert quota.exhausted
    for _ in range(9):
        quota.record_success(0)
    assert quota.try_acquire(RETRY_COST)
    quota.release(RETRY_COST)
    assert quota.exhausted
    quota.record_success(0)
    assert not quota.exhausted


def test_an_infinite_quota_is_never_exhausted() -> None:
    quota = Quota(math.inf)
    assert all(quota.try_acquire(TIMEOUT_COST) for _ in range(1000))
    quota.record_success(RETRY_COST)
    assert quota.left == quota.capacity == math.inf


class QuotaMachine(RuleBasedStateMachine):
    """Calls begin, fail, wait, succeed and are cancelled in any order."""

    @initialize(capacity=st.integers(0, 60))
    def make(self, capacity: int) -> None:
        self.quota = Quota(capacity)
        self.sent: list[int] = []  # cost of the last retry of each call in flight, 0 for a first attempt
        self.waiting: list[int] = []
        self.taken = self.released = self.earned = 0

    @rule()
    def begin(self) -> None:
        self.sent.append(0)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), error=st.sampled_from([headrace.CallTimeout("slow"), headrace.ServerError("503")]))
    def fail(self, data: st.DataObject, error: headrace.CallError) -> None:
        self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        before, cost = self.quota.left, cost_of_retry(error)
        allowed = self.quota.try_acquire(cost)
        assert allowed == (before >= cost)
        assert self.quota.left == (before - cost if allowed else before)
        if allowed:
            self.taken += cost
            self.waiting.append(cost)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self.sent.append(self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_while_waiting(self, data: st.DataObject) -> None:
        cost, before = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))), self.quota.left
        self.quota.release(cost)
        assert self.quota.left == min(self.quota.capacity, before + cost)
        self.released += cost

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        cost, before = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1))), self.quota.left
        self.quota.record_success(cost)
        assert self.quota.left == min(self.quota.capacity, before + (cost or 1))
        self.released += cost
        self.earned += 0 if cost else 1

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel_in_flight(self, data: st.DataObject) -> None:
        self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))

    @invariant()
    def tokens_are_between_zero_and_capacity(self) -> None:
        assert 0 <= self.quota.left <= self.quota.capacity

    @invariant()
    def no_more_tokens_return_than_were_taken(self) -> None:
        in_flight = sum(self.waiting) + sum(self.sent)
        assert self.released + in_flight <= self.taken
        assert self.taken <= self.quota.capacity + self.released + self.earned


TestQuotaMachine = QuotaMachine.TestCase
TestQuotaMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
