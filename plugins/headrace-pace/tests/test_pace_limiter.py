"""Buckets, the queue, the pause and the rate limiter, without an event loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace import Usage
from headrace.plugins import PerMinute, Waiter
from headrace_pace.call_demand import (
    REQUEST,
    Admission,
    AnswerLengths,
    CallDemand,
    actual_need,
    estimate_need,
)
from headrace_pace.limit_tracker import LimitTracker
from headrace_pace.pause import PROBE_TIMEOUT, Pause
from headrace_pace.rate_limit_headers import RateLimitInfo
from headrace_pace.rate_limiter import RateLimiter
from headrace_pace.token_bucket import TokenBucket


@given(
    st.floats(0.01, 1000.0),
    st.floats(1.0, 100.0),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 1.0)), max_size=100),
)
def test_any_window_sees_at_most_the_rate_and_one_burst(
    rate: float, capacity: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now, taken = TokenBucket(rate, capacity, 0.0), 0.0, list[tuple[float, float]]()
    for pause, share in steps:
        amount = share * capacity
        now += pause
        now += bucket.delay(now, amount)
        assert bucket.delay(now, amount) == 0.0  # the delay returned is long enough
        bucket.take(now, amount)
        taken.append((now, amount))
    for begin, (since, _) in enumerate(taken):
        total = 0.0
        for until, amount in taken[begin:]:
            total += amount
            assert total <= capacity + rate * (until - since) + 1e-6 * (1 + rate)


def test_an_amount_above_the_capacity_passes_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = TokenBucket(10.0, 10.0, 0.0)
    assert bucket.delay(0.0, 100.0) == 0.0
    bucket.take(0.0, 100.0)
    assert bucket.level(0.0) == -90.0
    assert bucket.delay(0.0, 1.0) == pytest.approx(9.1)
    bucket.take(0.0, -95.0)  # it needed only 5
    assert bucket.level(0.0) == 5.0
    bucket.take(0.0, -95.0)
    assert bucket.level(0.0) == 10.0  # never more than its capacity


def test_a_drained_bucket_starts_to_fill_from_zero() -> None:
    bucket = TokenBucket(1.0, 10.0, 0.0)
    bucket.drain(5.0, 20.0)
    assert bucket.level(20.0) == 0.0
    assert bucket.delay(5.0, 1.0) == pytest.approx(16.0)
    assert bucket.level(23.0) == 3.0


def test_limits_of_buckets_and_windows_are_learnt_for_any_period() -> None:
    for period in (1.0, 60.0, 86_400.0):
        bucket, window = (LimitTracker(None, 1.0, 1.0, 0.0) for _ in range(2))
        bucket.update(RateLimitInfo(600.0, 60.0, 0.9 * period), 10.0, 0.0, 0.0)
        window.update(RateLimitInfo(600.0, 590.0, period), 10.0, 0.0, 0.0)
        window.update(RateLimitInfo(600.0, 90.0, 0.1 * period), 10.0 + 0.9 * period, 0.0, 0.0)
        for tracker in (bucket, window):
            assert tracker.bucket is not None
            assert tracker.bucket.rate == pytest.approx(600 / period)
            assert tracker.bucket.capacity == 600.0


def test_a_limit_without_a_reset_is_per_minute() -> None:
    tracker = LimitTracker(None, 1.0, 1.0, 0.0)
    tracker.update(RateLimitInfo(600.0), 0.0, 0.0, 0.0)
    assert tracker.bucket is not None
    assert (tracker.bucket.rate, tracker.bucket.level(0.0)) == (10.0, 600.0)


@pytest.mark.parametrize(
    ("remaining", "elapsed", "taken", "level"),
    [
        (300.0, 0.0, 0.0, 270.0),  # less the reserve
        (300.0, 10.0, 100.0, 270.0),  # what was sent since was refilled since, at 10 per second
        (300.0, 10.0, 200.0, 170.0),  # only half of it was
        (300.0, 0.0, 1000.0, -30.0),  # most of these are rejected, and leave no debt
        (599.0, 0.0, 0.0, 400.0),  # never raises the level
    ],
)
def test_remaining_lowers_the_level(remaining: float, elapsed: float, taken: float, level: float) -> None:
    tracker = LimitTracker(None, 1.0, 1.0, 0.0)
    tracker.update(RateLimitInfo(600.0, 600.0), 0.0, 0.0, 0.0)
    assert tracker.bucket is not None
    tracker.bucket.take(0.0, 170.0)
    tracker.update(RateLimitInfo(600.0, remaining, (600.0 - remaining) / 10), 0.0, elapsed, taken)
    assert tracker.bucket.level(0.0) == pytest.approx(level)


def test_responses_lower_the_level_of_a_set_limit_but_not_its_rate() -> None:
    tracker = LimitTracker(60.0, 1.0, 1.0, 0.0)
    tracker.update(RateLimitInfo(6000.0, 0.0, 60.0), 0.0, 0.0, 0.0)
    assert tracker.bucket is not None
    assert (tracker.bucket.rate, tracker.bucket.capacity) == (1.0, 1.0)
    assert tracker.bucket.level(0.0) == -300.0


def admit(limiter: RateLimiter, now: float) -> Admission:
    """Admit a call now."""
    return Admission(now, limiter.admit(now, REQUEST), limiter.taken)


def test_a_pause_that_does_not_help_doubles_and_resets_after_a_success() -> None:
    pause, now, lengths = Pause(), 0.0, []
    pause.record_rejection(now, 1, None)
    for number in range(2, 10):
        lengths.append(pause.until - now)
        now = pause.until
        pause.record_probe(now, number)
        assert pause.record_rejection(now, number, None) is None
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    now = pause.until
    pause.record_probe(now, 10)
    pause.record_result(10, succeeded=True)
    assert not pause.holds
    assert pause.record_rejection(now, 11, None) == 1.0


def test_a_pause_is_at_least_as_long_as_the_endpoint_asks() -> None:
    pause = Pause()
    assert pause.record_rejection(0.0, 1, 5.0) == 5.0
    assert pause.record_rejection(1.0, 2, 3.0) is None  # sent before the pause began
    assert pause.remaining(1.0) == 4.0
    assert pause.record_rejection(1.0, 3, 10.0) is None  # longer, but it does not begin
    assert pause.remaining(1.0) == 10.0
    pause.record_probe(11.0, 4)
    pause.record_rejection(11.0, 4, 30.0)
    assert pause.remaining(11.0) == 30.0
    assert Pause().record_rejection(0.0, 1, 1e300) == 86_400.0  # a day at most


def test_a_single_rejection_changes_nothing() -> None:
    limiter = RateLimiter(PerMinute(), 1.0, 0.0)
    assert limiter.record_rejection(0.0, admit(limiter, 0.0), 5.0, exhausted=False) is None
    assert (limiter.delay(0.0, REQUEST), limiter.unlimited, limiter.needs_results) == (0.0, True, False)


def test_an_exhausted_limit_begins_a_pause() -> None:
    limiter = RateLimiter(PerMinute(), 1.0, 0.0)
    assert limiter.record_rejection(0.0, admit(limiter, 0.0), 5.0, exhausted=True) == 5.0
    assert (limiter.delay(0.0, REQUEST), limiter.unlimited, limiter.needs_results) == (5.0, False, True)
    probe = admit(limiter, 5.0)
    assert 0 < limiter.delay(5.0, REQUEST) <= PROBE_TIMEOUT
    limiter.record_result(5.1, probe.number, succeeded=True)
    assert limiter.paused_for(5.1) == 0.0
    assert not limiter.needs_results


def test_need_is_estimated_from_the_body_and_the_expected_length() -> None:
    lengths = AnswerLengths()
    assert estimate_need(b"x" * 400, 50) == CallDemand(1.0, 151, 101, 50)
    assert estimate_need(b"x" * 400, lengths.expected) == CallDemand(1.0, 601, 101, 500)
    for tokens in (20, 40):
        lengths.record(tokens)
    assert estimate_need(b"x" * 400, lengths.expected).output_tokens == 40
    assert estimate_need(b"", 10**400).tokens == 10**9 + 1


def test_the_expected_length_is_the_90_percent_quantile_of_the_latest() -> None:
    lengths = AnswerLengths()
    for tokens in range(1, 101):
        lengths.record(tokens)
    assert lengths.expected == 98  # of 81 to 100
    assert lengths.record(1000) == 1
    assert lengths.record(1000) == 1
    assert lengths.record(1000) == 900
    assert lengths.expected == 1000


def test_longer_answers_raise_the_estimates_of_calls_in_flight() -> None:
    limiter = RateLimiter(PerMinute(tokens=60_000), 1.0, 0.0)
    limiter.answer_lengths.expected = 100
    in_flight = []
    for unbounded in (True, True, False):
        needed = estimate_need(b"", 100)
        in_flight.append(Admission(0.0, limiter.admit(0.0, needed), limiter.taken, needed, unbounded))
        limiter.track(in_flight[-1])
    assert limiter.state(0.0).tokens == 1000 - 3 * 101
    for _ in range(3):
        limiter.record_length(0.0, 400)
    assert limiter.state(0.0).tokens == 1000 - 3 * 101 - 2 * 300
    for each in in_flight:
        limiter.settle(0.0, each, CallDemand(1.0, 401, 1, 400))
    assert limiter.state(0.0).tokens == 1000 - 3 * 401


@pytest.mark.parametrize(
    ("usage", "needed"),
    [
        (Usage(100, 20, 120), CallDemand(1.0, 120, 100, 20)),
        (Usage(100, 20, 120, cached_tokens=90), CallDemand(1.0, 120, 10, 20)),
    ],
)
def test_actual_need_excludes_cached_input(usage: Usage, needed: CallDemand) -> None:
    assert actual_need(usage, CallDemand(1.0, 7, 3, 4)) == needed


def test_input_and_output_are_limited_separately() -> None:
    limiter = RateLimiter(PerMinute(input_tokens=6000, output_tokens=600), 10.0, 0.0)
    assert limiter.state(0.0).input_tokens == 1000
    limiter.admit(0.0, estimate_need(b"x" * 1996, 50))
    assert (limiter.state(0.0).input_tokens, limiter.state(0.0).output_tokens) == (500, 50)
    assert limiter.delay(0.0, estimate_need(b"x" * 1996, 40)) == 0.0
    assert limiter.delay(0.0, estimate_need(b"", 60)) == pytest.approx(1.0)
    assert limiter.delay(0.0, estimate_need(b"x" * 2396, 10)) == pytest.approx(1.0)


class LimiterMachine(RuleBasedStateMachine):
    """Calls arrive, are cancelled, book and go in any order while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        # 1 request and 100 tokens per second, 5 and 500 at once.
        self.limiter = RateLimiter(PerMinute(60.0, 6000.0), 5.0, 0.0)
        self.waiting: list[Waiter[CallDemand]] = []
        self.booked: list[Waiter[CallDemand]] = []
        self.served: list[tuple[float, int]] = []

    @rule(seconds=st.floats(0.0, 20.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(tokens=st.integers(1, 500))
    def arrive(self, tokens: int) -> None:
        waiter = Waiter(CallDemand(1.0, tokens))
        self.limiter.join(waiter)
        self.waiting.append(waiter)

    @precondition(lambda self: self.waiting or self.booked)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        waiter = data.draw(st.sampled_from(self.waiting + self.booked))
        before = self.limiter.sent, self.limiter.taken
        self.limiter.leave(self.now, waiter)
        (self.booked if waiter.served else self.waiting).remove(waiter)
        assert (self.limiter.sent, self.limiter.taken) == before

    @rule()
    def book(self) -> None:
        self.limiter.serve(self.now)
        booked = [waiter for waiter in self.waiting if waiter.served]
        assert booked == self.waiting[: len(booked)]  # first in, first out
        del self.waiting[: len(booked)]
        self.booked += booked
        if self.waiting:
            assert self.limiter.delay_behind(self.now, self.waiting[0].wanted) > 0

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def acquire_tokens(self, data: Any) -> None:
        self.try_to_go(data.draw(st.sampled_from(self.booked)))

    def try_to_go(self, waiter: Waiter[CallDemand]) -> bool:
        """Let a booked call go as if it held its tokens again, or queue it again at the end."""
        self.booked.remove(waiter)
        self.limiter.leave(self.now, waiter)
        if self.limiter.delay(self.now, waiter.wanted):
            self.arrive(int(waiter.wanted.tokens))
            return False
        self.limiter.admit(self.now, waiter.wanted)
        self.served.append((self.now, int(waiter.wanted.tokens)))
        return True

    @precondition(lambda self: self.waiting and not self.booked)
    @rule()
    def the_first_waiter_goes_after_its_delay(self) -> None:
        self.now += self.limiter.delay_behind(self.now, self.waiting[0].wanted)
        self.book()
        assert self.try_to_go(self.booked[0])  # nobody starves

    @precondition(lambda self: self.waiting and self.booked)
    @rule()
    def a_booked_call_does_not_block_the_queue(self) -> None:
        self.now += self.limiter.delay_behind(self.now, self.waiting[0].wanted)
        first = self.waiting[0]
        self.book()
        assert first.served

    @invariant()
    def calls_keep_to_the_rate_and_one_burst(self) -> None:
        for begin, (since, _) in enumerate(self.served):
            requests = len(self.served) - begin
            tokens = sum(tokens for _, tokens in self.served[begin:])
            assert requests <= 5 + (self.now - since) + 1e-3
            assert tokens <= 500 + 100 * (self.now - since) + 1e-3

    @invariant()
    def released_bookings_leave_nothing(self) -> None:
        assert self.limiter.pending == len(self.waiting) + len(self.booked)
        if not self.booked:
            for index, bucket in self.limiter._buckets:
                level = bucket.level(self.now)
                assert bucket.available(self.now) == pytest.approx(level, abs=1e-6), index


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = hypothesis_settings(max_examples=50, stateful_step_count=50, deadline=None)


def test_a_cancelled_call_releases_its_booking() -> None:
    limiter = RateLimiter(PerMinute(60.0, 6000.0), 5.0, 0.0)
    waiter = Waiter(CallDemand(1.0, 400))
    limiter.join(waiter)
    limiter.serve(0.0)
    assert (limiter.state(0.0).requests, limiter.state(0.0).tokens) == (4, 100)
    limiter.leave(0.0, waiter)
    assert (limiter.state(0.0).requests, limiter.state(0.0).tokens, limiter.sent) == (5, 500, 0)


def test_old_bookings_do_not_refill_the_bucket() -> None:
    bucket = TokenBucket(1.0, 2.0, 0.0)
    for second in range(100):
        assert bucket.delay_behind(float(second), 1.0) <= 1.0, "an old booking makes no call wait"
        bucket.reserve(float(second), 1.0)
    went = 0
    for _ in range(100):
        bucket.release(99.0, 1.0)
        if not bucket.delay(99.0, 1.0):
            bucket.take(99.0, 1.0)
            went += 1
    assert went == 2
    assert bucket.available(99.0) == bucket.level(99.0) == 0.0


def test_a_call_keeps_the_probe_it_booked_until_it_goes_or_is_cancelled() -> None:
    limiter = RateLimiter(PerMinute(), 1.0, 0.0)
    limiter.record_rejection(0.0, admit(limiter, 0.0), 5.0, exhausted=True)
    first, second = Waiter(REQUEST), Waiter(REQUEST)
    limiter.join(first)
    limiter.join(second)
    limiter.serve(5.0)
    assert (first.served, second.served) == (True, False)
    assert limiter.delay_behind(100.0, REQUEST) == math.inf, "however long its tokens take"
    limiter.leave(100.0, first)
    limiter.serve(100.0)
    assert second.served
    limiter.leave(100.0, second)
    assert limiter.delay(100.0, REQUEST) == 0.0
    limiter.admit(100.0, REQUEST)
    assert limiter.delay(100.0, REQUEST) == pytest.approx(PROBE_TIMEOUT)
