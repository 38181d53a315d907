"""The bucket and the line, with the time made up."""

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
from headrace_pace.allowance import Allowance
from headrace_pace.bucket import Bucket
from headrace_pace.headers import Said
from headrace_pace.lane import Lane, Passage
from headrace_pace.need import REQUEST, Lengths, Need, need, used
from headrace_pace.pause import PATIENCE, Pause


@given(
    st.floats(0.01, 1000.0),
    st.floats(1.0, 100.0),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 1.0)), max_size=100),
)
def test_over_any_window_no_more_than_the_rate_and_one_burst(
    rate: float, capacity: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now, taken = Bucket(rate, capacity, 0.0), 0.0, list[tuple[float, float]]()
    for pause, share in steps:
        amount = share * capacity
        now += pause
        now += bucket.wait(now, amount)
        assert bucket.wait(now, amount) == 0.0  # the wait that was said is enough
        bucket.take(now, amount)
        taken.append((now, amount))
    for begin, (since, _) in enumerate(taken):
        total = 0.0
        for until, amount in taken[begin:]:
            total += amount
            assert total <= capacity + rate * (until - since) + 1e-6 * (1 + rate)


def test_what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_owed() -> None:
    bucket = Bucket(10.0, 10.0, 0.0)
    assert bucket.wait(0.0, 100.0) == 0.0
    bucket.take(0.0, 100.0)
    assert bucket.level(0.0) == -90.0
    assert bucket.wait(0.0, 1.0) == pytest.approx(9.1)
    bucket.take(0.0, -95.0)  # it needed but 5
    assert bucket.level(0.0) == 5.0
    bucket.take(0.0, -95.0)
    assert bucket.level(0.0) == 10.0  # never more than it holds


def test_a_drained_bucket_has_saved_nothing_up_when_it_begins_to_fill() -> None:
    bucket = Bucket(1.0, 10.0, 0.0)
    bucket.drain(5.0, 20.0)
    assert bucket.level(20.0) == 0.0
    assert bucket.wait(5.0, 1.0) == pytest.approx(16.0)
    assert bucket.level(23.0) == 3.0


def test_the_limits_of_a_bucket_and_of_a_window_are_learnt_for_any_period() -> None:
    for period in (1.0, 60.0, 86_400.0):
        bucket, window = (Allowance(None, 1.0, 1.0, 0.0) for _ in range(2))
        bucket.hear(Said(600.0, 60.0, 0.9 * period), 10.0, 0.0, 0.0)
        window.hear(Said(600.0, 590.0, period), 10.0, 0.0, 0.0)
        window.hear(Said(600.0, 90.0, 0.1 * period), 10.0 + 0.9 * period, 0.0, 0.0)
        for allowance in (bucket, window):
            assert allowance.bucket is not None
            assert allowance.bucket.rate == pytest.approx(600 / period)
            assert allowance.bucket.capacity == 600.0


def test_a_limit_without_a_reset_is_one_a_minute() -> None:
    allowance = Allowance(None, 1.0, 1.0, 0.0)
    allowance.hear(Said(600.0), 0.0, 0.0, 0.0)
    assert allowance.bucket is not None
    assert (allowance.bucket.rate, allowance.bucket.level(0.0)) == (10.0, 600.0)


@pytest.mark.parametrize(
    ("remaining", "elapsed", "taken", "level"),
    [
        (300.0, 0.0, 0.0, 270.0),  # less the reserve
        (300.0, 10.0, 100.0, 270.0),  # what was sent since was refilled since: 10 a second
        (300.0, 10.0, 200.0, 170.0),  # half of it was
        (300.0, 0.0, 1000.0, -30.0),  # most of these are refused, and no debt
        (599.0, 0.0, 0.0, 400.0),  # it never raises
    ],
)
def test_remaining_lowers_what_is_there(remaining: float, elapsed: float, taken: float, level: float) -> None:
    allowance = Allowance(None, 1.0, 1.0, 0.0)
    allowance.hear(Said(600.0, 600.0), 0.0, 0.0, 0.0)
    assert allowance.bucket is not None
    allowance.bucket.take(0.0, 170.0)
    allowance.hear(Said(600.0, remaining, (600.0 - remaining) / 10), 0.0, elapsed, taken)
    assert allowance.bucket.level(0.0) == pytest.approx(level)


def test_a_limit_that_is_set_stays_and_only_what_is_there_is_lowered() -> None:
    allowance = Allowance(60.0, 1.0, 1.0, 0.0)
    allowance.hear(Said(6000.0, 0.0, 60.0), 0.0, 0.0, 0.0)
    assert allowance.bucket is not None
    assert (allowance.bucket.rate, allowance.bucket.capacity) == (1.0, 1.0)
    assert allowance.bucket.level(0.0) == -300.0


def passage(lane: Lane, now: float) -> Passage:
    """An attempt that goes now."""
    return Passage(now, lane.go(now, REQUEST), lane.spent)


def test_a_pause_that_does_not_help_is_twice_as_long_and_one_after_some_success_begins_anew() -> None:
    pause, now, lengths = Pause(), 0.0, []
    pause.refused(now, 1, None)
    for number in range(2, 10):
        lengths.append(pause.until - now)
        now = pause.until
        pause.sent(now, number)
        assert pause.refused(now, number, None) is None
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    now = pause.until
    pause.sent(now, 10)
    pause.ended(10, succeeded=True)
    assert not pause.holds
    assert pause.refused(now, 11, None) == 1.0


def test_a_pause_is_never_shorter_than_it_was_asked_for() -> None:
    pause = Pause()
    assert pause.refused(0.0, 1, 5.0) == 5.0
    assert pause.refused(1.0, 2, 3.0) is None  # sent before it began
    assert pause.left(1.0) == 4.0
    assert pause.refused(1.0, 3, 10.0) is None  # longer, but no pause that begins
    assert pause.left(1.0) == 10.0
    pause.sent(11.0, 4)
    pause.refused(11.0, 4, 30.0)
    assert pause.left(11.0) == 30.0
    assert Pause().refused(0.0, 1, 1e300) == 86_400.0  # nobody is believed for longer than a day


def test_a_single_refusal_changes_nothing() -> None:
    lane = Lane(PerMinute(), 1.0, 0.0)
    assert lane.refuse(0.0, passage(lane, 0.0), 5.0, exhausted=False) is None
    assert (lane.wait(0.0, REQUEST), lane.free, lane.watched) == (0.0, True, False)


def test_a_refusal_that_says_that_nothing_is_left_stops_all() -> None:
    lane = Lane(PerMinute(), 1.0, 0.0)
    assert lane.refuse(0.0, passage(lane, 0.0), 5.0, exhausted=True) == 5.0
    assert (lane.wait(0.0, REQUEST), lane.free, lane.watched) == (5.0, False, True)
    probe = passage(lane, 5.0)
    assert 0 < lane.wait(5.0, REQUEST) <= PATIENCE
    lane.passed(5.1, probe.number, succeeded=True)
    assert lane.paused_for(5.1) == 0.0
    assert not lane.watched


def test_estimates() -> None:
    lengths = Lengths()
    assert need(b"x" * 400, 50) == Need(1.0, 151, 101, 50)
    assert need(b"x" * 400, lengths.usual) == Need(1.0, 601, 101, 500)
    for tokens in (20, 40):
        lengths.learn(tokens)
    assert need(b"x" * 400, lengths.usual).output_tokens == 40
    assert need(b"", 10**400).tokens == 10**9 + 1


def test_answers_are_taken_to_be_as_long_as_nine_in_ten_of_the_latest() -> None:
    lengths = Lengths()
    for tokens in range(1, 101):
        lengths.learn(tokens)
    assert lengths.usual == 98  # of 81 to 100
    assert lengths.learn(1000) == 1
    assert lengths.learn(1000) == 1
    assert lengths.learn(1000) == 900
    assert lengths.usual == 1000


def test_where_answers_grow_those_under_way_are_taken_to_be_longer_too() -> None:
    lane = Lane(PerMinute(tokens=60_000), 1.0, 0.0)
    lane.lengths.usual = 100
    under_way = []
    for unbounded in (True, True, False):
        needed = need(b"", 100)
        under_way.append(Passage(0.0, lane.go(0.0, needed), lane.spent, needed, unbounded))
        lane.begin(under_way[-1])
    assert lane.state(0.0).tokens == 1000 - 3 * 101
    for _ in range(3):
        lane.learn_length(0.0, 400)
    assert lane.state(0.0).tokens == 1000 - 3 * 101 - 2 * 300
    for each in under_way:
        lane.settle(0.0, each, Need(1.0, 401, 1, 400))
    assert lane.state(0.0).tokens == 1000 - 3 * 401


@pytest.mark.parametrize(
    ("usage", "needed"),
    [
        (Usage(100, 20, 120), Need(1.0, 120, 100, 20)),
        (Usage(100, 20, 120, cached_tokens=90), Need(1.0, 120, 10, 20)),
    ],
)
def test_what_a_call_did_use(usage: Usage, needed: Need) -> None:
    assert used(usage, Need(1.0, 7, 3, 4)) == needed


def test_input_and_output_are_limited_each_by_itself() -> None:
    lane = Lane(PerMinute(input_tokens=6000, output_tokens=600), 10.0, 0.0)
    assert lane.state(0.0).input_tokens == 1000
    lane.go(0.0, need(b"x" * 1996, 50))
    assert (lane.state(0.0).input_tokens, lane.state(0.0).output_tokens) == (500, 50)
    assert lane.wait(0.0, need(b"x" * 1996, 40)) == 0.0
    assert lane.wait(0.0, need(b"", 60)) == pytest.approx(1.0)
    assert lane.wait(0.0, need(b"x" * 2396, 10)) == pytest.approx(1.0)


class AnyLane(RuleBasedStateMachine):
    """Calls come, give up, book and go in any order while time passes; a booked one goes when it can."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lane = Lane(PerMinute(60.0, 6000.0), 5.0, 0.0)  # 1 and 100 a second, 5 and 500 at once
        self.waiting: list[Waiter[Need]] = []
        self.booked: list[Waiter[Need]] = []
        self.served: list[tuple[float, int]] = []

    @rule(seconds=st.floats(0.0, 20.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(tokens=st.integers(1, 500))
    def come(self, tokens: int) -> None:
        waiter = Waiter(Need(1.0, tokens))
        self.lane.join(waiter)
        self.waiting.append(waiter)

    @precondition(lambda self: self.waiting or self.booked)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        waiter = data.draw(st.sampled_from(self.waiting + self.booked))
        before = self.lane.sent, self.lane.spent
        self.lane.leave(self.now, waiter)
        (self.booked if waiter.served else self.waiting).remove(waiter)
        assert (self.lane.sent, self.lane.spent) == before

    @rule()
    def book(self) -> None:
        self.lane.serve(self.now)
        booked = [waiter for waiter in self.waiting if waiter.served]
        assert booked == self.waiting[: len(booked)]  # first in, first out
        del self.waiting[: len(booked)]
        self.booked += booked
        if self.waiting:
            assert self.lane.wait_behind(self.now, self.waiting[0].wanted) > 0

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def have_tokens(self, data: Any) -> None:
        self.try_to_go(data.draw(st.sampled_from(self.booked)))

    def try_to_go(self, waiter: Waiter[Need]) -> bool:
        """What a call does that holds its tokens again; one that may not go joins the line at its end."""
        self.booked.remove(waiter)
        self.lane.leave(self.now, waiter)
        if self.lane.wait(self.now, waiter.wanted):
            self.come(int(waiter.wanted.tokens))
            return False
        self.lane.go(self.now, waiter.wanted)
        self.served.append((self.now, int(waiter.wanted.tokens)))
        return True

    @precondition(lambda self: self.waiting and not self.booked)
    @rule()
    def who_is_first_goes_when_it_was_said(self) -> None:
        self.now += self.lane.wait_behind(self.now, self.waiting[0].wanted)
        self.book()
        assert self.try_to_go(self.booked[0])  # nobody starves

    @precondition(lambda self: self.waiting and self.booked)
    @rule()
    def nobody_waits_for_ever_for_one_that_has_booked(self) -> None:
        self.now += self.lane.wait_behind(self.now, self.waiting[0].wanted)
        first = self.waiting[0]
        self.book()
        assert first.served

    @invariant()
    def no_more_than_the_rate_and_one_burst(self) -> None:
        for begin, (since, _) in enumerate(self.served):
            requests = len(self.served) - begin
            tokens = sum(tokens for _, tokens in self.served[begin:])
            assert requests <= 5 + (self.now - since) + 1e-3
            assert tokens <= 500 + 100 * (self.now - since) + 1e-3

    @invariant()
    def bookings_given_back_leave_nothing(self) -> None:
        assert self.lane.unsent == len(self.waiting) + len(self.booked)
        if not self.booked:
            for index, bucket in self.lane._buckets:
                level = bucket.level(self.now)
                assert bucket.available(self.now) == pytest.approx(level, abs=1e-6), index


TestAnyLane = AnyLane.TestCase
TestAnyLane.settings = hypothesis_settings(max_examples=50, stateful_step_count=50, deadline=None)


def test_a_booked_call_that_is_cancelled_gives_its_booking_back() -> None:
    lane = Lane(PerMinute(60.0, 6000.0), 5.0, 0.0)
    waiter = Waiter(Need(1.0, 400))
    lane.join(waiter)
    lane.serve(0.0)
    assert (lane.state(0.0).requests, lane.state(0.0).tokens) == (4, 100)
    lane.leave(0.0, waiter)
    assert (lane.state(0.0).requests, lane.state(0.0).tokens, lane.sent) == (5, 500, 0)


def test_bookings_that_have_become_old_do_not_fill_the_bucket_again() -> None:
    bucket = Bucket(1.0, 2.0, 0.0)
    for second in range(100):
        assert bucket.wait_behind(float(second), 1.0) <= 1.0, "an old booking keeps nobody waiting"
        bucket.reserve(float(second), 1.0)
    went = 0
    for _ in range(100):
        bucket.release(99.0, 1.0)
        if not bucket.wait(99.0, 1.0):
            bucket.take(99.0, 1.0)
            went += 1
    assert went == 2
    assert bucket.available(99.0) == bucket.level(99.0) == 0.0


def test_a_call_that_has_booked_the_probe_of_a_pause_keeps_it_until_it_goes_or_gives_up() -> None:
    lane = Lane(PerMinute(), 1.0, 0.0)
    lane.refuse(0.0, passage(lane, 0.0), 5.0, exhausted=True)
    first, second = Waiter(REQUEST), Waiter(REQUEST)
    lane.join(first)
    lane.join(second)
    lane.serve(5.0)
    assert (first.served, second.served) == (True, False)
    assert lane.wait_behind(100.0, REQUEST) == math.inf, "however long its tokens take"
    lane.leave(100.0, first)
    lane.serve(100.0)
    assert second.served
    lane.leave(100.0, second)
    assert lane.wait(100.0, REQUEST) == 0.0
    lane.go(100.0, REQUEST)
    assert lane.wait(100.0, REQUEST) == pytest.approx(PATIENCE)
