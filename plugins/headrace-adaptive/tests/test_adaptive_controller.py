"""The controller of one limit, without an event loop."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace_adaptive.controller import MIN_ROUND, MIN_USE, LimitConfig, LimitController


def limit_controller(**changes: Any) -> LimitController:
    defaults: dict[str, Any] = {
        "start": 20,
        "least": 1,
        "most": math.inf,
        "cut": 0.8,
        "growth": 0.05,
        "cooldown": 15.0,
    }
    return LimitController(LimitConfig(**defaults | changes), now=1000.0)


def rounds(
    limit: LimitController, times: int, begin: float, lasting: float = 1.0, used: float = 1.0
) -> float:
    """Run rounds with one success per token; returns the time at which the last one ended."""
    for _ in range(times):
        calls = limit.limit
        for number in range(calls):
            limit.record_success(begin + lasting * (number + 1) / calls, math.ceil(calls * used))
        begin += lasting
    return begin


def test_limit_grows_by_its_growth_share_each_round() -> None:
    limit = limit_controller(start=100)
    seen = [limit.limit]
    now = 1000.0
    for _ in range(5):
        now = rounds(limit, 1, now)
        seen.append(limit.limit)
    assert seen == [100, 105, 110, 115, 121, 127]


def test_small_limit_grows_by_one() -> None:
    limit = limit_controller(start=1)
    rounds(limit, 4, 1000.0)
    assert limit.limit == 5


def test_429_cuts_the_limit_once_per_cooldown() -> None:
    limit = limit_controller(start=100)
    assert limit.record_rate_limit(2000.0, None)
    assert limit.limit == 80
    assert not limit.record_rate_limit(2014.9, None)
    assert limit.limit == 80
    assert limit.record_rate_limit(2015.0, None)
    assert limit.limit == 64


def test_retry_after_only_extends_the_cooldown() -> None:
    limit = limit_controller(start=100)
    limit.record_rate_limit(2000.0, 60.0)
    assert not limit.record_rate_limit(2059.0, None)
    assert limit.record_rate_limit(2060.0, 1.0)
    assert not limit.record_rate_limit(2074.0, None)
    assert limit.record_rate_limit(2075.0, None)


def test_growth_after_a_cut_waits_for_the_cooldown_and_is_by_one() -> None:
    limit = limit_controller(start=100)
    limit.record_rate_limit(2000.0, None)
    now = rounds(limit, 15, 2000.0, lasting=0.99)
    assert limit.limit == 80
    now = rounds(limit, 10, 2015.0)
    assert limit.limit == 90
    now = rounds(limit, 10, now)
    assert limit.limit == 100
    rounds(limit, 1, now)
    assert limit.limit == 105


def test_limit_does_not_grow_below_80_percent_use() -> None:
    limit = limit_controller(start=100)
    now = rounds(limit, 50, 1000.0, used=0.79)
    assert limit.limit == 100
    rounds(limit, 1, now, used=MIN_USE)
    assert limit.limit == 105


def test_5xx_stops_growth_without_a_cut() -> None:
    limit = limit_controller(start=100)
    limit.record_failure(1000.5)
    now = rounds(limit, 14, 1000.5)
    assert limit.limit == 100
    rounds(limit, 2, now + 1.0)
    assert limit.limit == 110


def test_5xx_does_not_shorten_the_cooldown() -> None:
    limit = limit_controller(start=100)
    limit.record_rate_limit(2000.0, 60.0)
    limit.record_failure(2001.0)
    rounds(limit, 58, 2001.0)
    assert limit.limit == 80


def test_token_of_a_refused_attempt_returns_after_four_replies() -> None:
    limit = limit_controller(start=10)
    limit.record_rate_limit(2000.0, None)
    assert limit.tokens == limit.limit == 8
    for _ in range(2):
        limit.record_rate_limit(2001.0, None)
    assert (limit.tokens, limit.limit) == (6, 8)
    seen = []
    for _ in range(8):
        limit.record_success(2002.0, 6)
        seen.append(limit.tokens)
    assert seen == [6, 6, 6, 7, 7, 7, 7, 8]


def test_one_token_always_remains_and_a_cut_uses_withheld_tokens_first() -> None:
    limit = limit_controller(start=10)
    for _ in range(20):
        limit.record_rate_limit(2000.0, None)
    assert (limit.tokens, limit.limit) == (1, 8)
    assert limit.record_rate_limit(2015.0, None)
    assert (limit.tokens, limit.limit) == (1, 6)
    for _ in range(20):
        limit.record_success(2016.0, 1)
    assert limit.tokens == 6


def test_limit_stays_between_least_and_most() -> None:
    limit = limit_controller(start=10, least=9, most=12)
    now = rounds(limit, 20, 1000.0)
    assert limit.limit == 12
    for number in range(10):
        limit.record_rate_limit(now + 15.0 * number, None)
    assert limit.limit == 9


@given(lasting=st.floats(1.0, 120.0))
def test_growth_depends_on_rounds_not_on_their_duration(lasting: float) -> None:
    limit = limit_controller()
    rounds(limit, 5, 1000.0, lasting)
    assert limit.limit == 25


def test_limit_grows_at_most_once_per_second() -> None:
    limit = limit_controller(start=100)
    for number in range(100_000):
        limit.record_success(1000.0 + 2.5 * number / 100_000, 100)
    assert limit.limit == 110


def test_limits_cut_together_converge_to_equal_shares() -> None:
    # The worst case: each cut hits both. With proportional growth they would stay at nine to one.
    one, other, now = limit_controller(start=900), limit_controller(start=100), 1000.0
    for _ in range(600):
        rounds(one, 1, now)
        rounds(other, 1, now)
        now += 1.0
        if one.limit + other.limit > 1000:
            one.record_rate_limit(now, None)
            other.record_rate_limit(now, None)
    assert 0.45 <= one.limit / (one.limit + other.limit) <= 0.55


class ControllerMachine(RuleBasedStateMachine):
    """Successes, refusals and failures in any order while time passes."""

    @initialize(
        least=st.integers(1, 10),
        above=st.integers(0, 50),
        room=st.one_of(st.none(), st.integers(0, 50)),
        cut=st.sampled_from([0.5, 0.8, 0.99]),
        growth=st.sampled_from([0.01, 0.05, 0.9]),
        cooldown=st.sampled_from([0.5, 15.0]),
    )
    def make(
        self, least: int, above: int, room: int | None, cut: float, growth: float, cooldown: float
    ) -> None:
        start = least + above
        most = math.inf if room is None else start + room
        self.controller = limit_controller(
            start=start, least=least, most=most, cut=cut, growth=growth, cooldown=cooldown
        )
        self.now = 1000.0
        self.may_cut_at = self.may_grow_at = -math.inf
        self.grew_at = -math.inf

    @rule(seconds=st.floats(0.0, 40.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(answers=st.integers(1, 200), used=st.floats(0.0, 1.5))
    def answer(self, answers: int, used: float) -> None:
        for _ in range(answers):
            before = self.controller.limit
            in_use = max(1, int(before * used))
            grew = self.controller.record_success(self.now, in_use)
            assert grew == (self.controller.limit > before)
            assert self.controller.limit >= before
            if grew:
                assert in_use >= MIN_USE * before
                assert self.now >= self.may_grow_at
                assert self.now >= self.grew_at + MIN_ROUND
                assert self.controller.limit <= before + max(
                    1, math.ceil((before + 1) * self.controller.config.growth)
                )
                self.grew_at = self.now

    @rule(retry_after=st.one_of(st.none(), st.floats(0.001, 100.0)))
    def refuse(self, retry_after: float | None) -> None:
        before = self.controller.limit
        cut = self.controller.record_rate_limit(self.now, retry_after)
        assert cut == (self.controller.limit < before)
        assert self.controller.limit >= int(before * self.controller.config.cut)
        if self.now < self.may_cut_at:
            assert not cut
        else:
            wait = max(self.controller.config.cooldown, retry_after or 0.0)
            self.may_cut_at = self.now + wait
            self.may_grow_at = max(self.may_grow_at, self.now + wait)

    @rule()
    def fail(self) -> None:
        before = self.controller.limit
        self.controller.record_failure(self.now)
        assert self.controller.limit == before
        self.may_grow_at = max(self.may_grow_at, self.now + self.controller.config.cooldown)

    @invariant()
    def within_bounds(self) -> None:
        assert self.controller.config.least <= self.controller.limit <= self.controller.config.most
        assert 1 <= self.controller.tokens <= self.controller.limit


TestControllerMachine = ControllerMachine.TestCase
TestControllerMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
