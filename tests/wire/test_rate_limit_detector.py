"""Which refusals are a limit's, and which are chance; without a loop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import StatusError
from headrace.wire.rate_limit_detector import (
    DOMINANT,
    KNOWN,
    SUSPICIOUS,
    RateLimitDetector,
    RateLimitEvidence,
    is_daily_limit,
)


class Sender:
    """Sends one attempt after the other and tells what becomes of each; slows when a limit is suspected."""

    def __init__(self, rate: float = 100.0) -> None:
        self.refusals = RateLimitDetector()
        self.rate = rate
        self.now = 0.0
        self.number = 0
        self.seen: list[RateLimitEvidence] = []

    def attempt(self, refused: bool, asked: float | None = None) -> RateLimitEvidence:
        self.number += 1
        self.now += 1 / self.rate
        if refused:
            evidence = self.refusals.record_rejection(self.number, self.now, self.now, asked, self.number)
        else:
            evidence = self.refusals.record_acceptance(self.number, self.now)
        if evidence is not RateLimitEvidence.NOTHING:
            self.seen.append(evidence)
        return evidence


def until_suspected(sender: Sender, refused_of: int) -> None:
    """Each so-manieth attempt is refused, until a limit is suspected."""
    while sender.attempt(sender.number % refused_of == 0) is not RateLimitEvidence.SUSPECTED:
        assert sender.number < 2000


def test_nothing_but_refusals_dominate() -> None:
    sender = Sender()
    assert [sender.attempt(True) for _ in range(DOMINANT)] == [RateLimitEvidence.NOTHING] * (DOMINANT - 1) + [
        RateLimitEvidence.DOMINANT
    ]
    assert sender.refusals.limited


def test_half_as_many_are_enough_where_they_ask_for_longer_than_a_minute() -> None:
    sender = Sender()
    seen = [sender.attempt(True, asked=300.0) for _ in range(DOMINANT // 2)]
    assert seen[-1] is RateLimitEvidence.DOMINANT


def test_refusals_that_are_few_in_a_crowd_do_not_dominate() -> None:
    # A hundred begin at once; a dozen of them, spread among the others, are refused before any is answered.
    refusals = RateLimitDetector()
    for number in range(1, 101, 8):
        assert refusals.record_rejection(number, 0.0, 0.01, None, 100) is RateLimitEvidence.NOTHING


def test_in_whatever_order_they_come_back() -> None:
    refusals, numbers = RateLimitDetector(), list(range(1, DOMINANT + 1))
    random.Random(5).shuffle(numbers)
    seen = [refusals.record_rejection(number, 0.0, 0.01, None, 500) for number in numbers]
    assert seen[-1] is RateLimitEvidence.DOMINANT
    assert set(seen[:-1]) == {RateLimitEvidence.NOTHING}


def test_what_was_sent_before_the_sender_slowed_is_no_news() -> None:
    refusals = RateLimitDetector()
    for number in range(1, DOMINANT + 1):
        evidence = refusals.record_rejection(number, 0.0, 0.01, None, 500)
    assert evidence is RateLimitEvidence.DOMINANT
    assert {refusals.record_rejection(number, 0.0, 0.02, None, 500) for number in range(13, 501)} == {
        RateLimitEvidence.NOTHING
    }


def test_a_limit_is_suspected_and_known_when_refusals_end_with_the_slowing() -> None:
    sender = Sender()
    until_suspected(sender, 5)
    refusals = sender.refusals
    assert refusals.testing
    assert refusals.accepted / refusals.seconds == pytest.approx(80.0, rel=0.1)
    while refusals.testing:
        sender.attempt(False)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.LIMIT]
    assert refusals.limited
    # Then it is found again after a few.
    for number in range(10 * KNOWN):
        if sender.attempt(number % 10 == 0) is RateLimitEvidence.SUSPECTED:
            break
    assert number <= 10 * KNOWN


@pytest.mark.parametrize("refused_of", [3, 10, 30])
def test_it_is_chance_when_slowing_does_not_help(refused_of: int) -> None:
    sender = Sender()
    until_suspected(sender, refused_of)
    while sender.refusals.testing:
        sender.attempt(sender.number % refused_of == 0)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.CHANCE]
    assert not sender.refusals.limited
    # And that holds for a while.
    for _ in range(20 * 100):
        sender.attempt(sender.number % refused_of == 0)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.CHANCE]


def test_refusals_that_grow_while_less_is_sent_are_not_chance() -> None:
    sender = Sender()
    until_suspected(sender, 10)
    for number in range(40):
        sender.attempt(number % 3 != 0)
    assert RateLimitEvidence.CHANCE not in sender.seen


def test_refusals_of_one_moment_tell_no_rate() -> None:
    refusals = RateLimitDetector()
    for number in range(1, 2 * SUSPICIOUS):
        assert refusals.record_rejection(3 * number, 1.0, 1.0, None, 500) is RateLimitEvidence.NOTHING
    assert refusals.record_rejection(3 * 2 * SUSPICIOUS, 1.5, 1.5, None, 500) is RateLimitEvidence.SUSPECTED


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 0.3), rate=st.floats(1.0, 1000.0))
def test_at_random_the_time_lost_to_tests_and_pauses_is_small(seed: int, share: float, rate: float) -> None:
    rng, sender, slowed, dominant = random.Random(seed), Sender(rate), 0, 0
    for _ in range(20_000):
        dominant += sender.attempt(rng.random() < share) is RateLimitEvidence.DOMINANT
        slowed += sender.refusals.testing
    assert dominant <= 4
    # Of slow senders a test takes longer than what it is to save.
    if rate >= 20:
        assert slowed <= 0.35 * 20_000


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(), st.integers(0, 60), st.floats(0, 5), st.one_of(st.none(), st.floats(0.001, 1e6))
        ),
        max_size=300,
    )
)
def test_any_order_of_events_is_taken(events: list[tuple[bool, int, float, float | None]]) -> None:
    refusals, now, last = RateLimitDetector(), 0.0, 0
    for refused, back, passed, asked in events:
        now, last = now + passed, last + 1
        number = max(1, last - back)
        if refused:
            evidence = refusals.record_rejection(number, max(0.0, now - back), now, asked, last)
        else:
            evidence = refusals.record_acceptance(number, now)
        if evidence is RateLimitEvidence.SUSPECTED:
            assert refusals.testing
            assert refusals.accepted >= 0
            assert refusals.seconds > 0
        if refusals.testing:
            assert refusals.limited


@pytest.mark.parametrize(
    ("status", "body", "per_day"),
    [
        (429, b'{"error":{"message":"on requests per day (RPD): Limit 200, Used 200"}}', True),
        (429, b'{"error":{"message":"Rate limit reached on tokens per day (TPD): Limit 100000"}}', True),
        (
            429,
            b'{"error":{"details":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}}',
            True,
        ),
        (429, b'{"error":{"message":"This would exceed your daily token limit"}}', True),
        (429, b'{"error":{"message":"on requests per min (RPM): Limit 3, Used 3"}}', False),
        (429, b'{"error":{"message":"on tokens per min (TPM): Limit 30000"}}', False),
        (
            429,
            b'{"error":{"message":"The engine is currently overloaded","type":"engine_overloaded_error"}}',
            False,
        ),
        (429, b"", False),
        (503, b'{"error":{"message":"per day"}}', False),
    ],
)
def test_what_says_that_a_days_worth_is_used_up(status: int, body: bytes, per_day: bool) -> None:
    assert is_daily_limit(StatusError("refused", status, body=body)) is per_day
