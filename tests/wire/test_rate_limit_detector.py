"""Whether rejections come from a rate limit or by chance."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
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
    """Records the result of one attempt after the other; slows down when a limit is suspected."""

    def __init__(self, rate: float = 100.0) -> None:
        self.detector = RateLimitDetector()
        self.rate = rate
        self.now = 0.0
        self.number = 0
        self.seen: list[RateLimitEvidence] = []

    def attempt(self, rejected: bool, retry_after: float | None = None) -> RateLimitEvidence:
        self.number += 1
        self.now += 1 / self.rate
        if rejected:
            evidence = self.detector.record_rejection(
                self.number, self.now, self.now, retry_after, self.number
            )
        else:
            evidence = self.detector.record_acceptance(self.number, self.now)
        if evidence is not RateLimitEvidence.NOTHING:
            self.seen.append(evidence)
        return evidence


def until_suspected(sender: Sender, one_in: int) -> None:
    """Reject one attempt in ``one_in`` until a limit is suspected."""
    while sender.attempt(sender.number % one_in == 0) is not RateLimitEvidence.SUSPECTED:
        assert sender.number < 2000


def test_rejections_alone_are_dominant() -> None:
    sender = Sender()
    assert [sender.attempt(True) for _ in range(DOMINANT)] == [RateLimitEvidence.NOTHING] * (DOMINANT - 1) + [
        RateLimitEvidence.DOMINANT
    ]
    assert sender.detector.limited


def test_rejections_with_a_wait_over_a_minute_count_twice() -> None:
    sender = Sender()
    seen = [sender.attempt(True, retry_after=300.0) for _ in range(DOMINANT // 2)]
    assert seen[-1] is RateLimitEvidence.DOMINANT


def test_a_few_rejections_among_many_attempts_are_not_dominant() -> None:
    # A hundred attempts start together. A dozen of them, evenly spread, are rejected before others end.
    detector = RateLimitDetector()
    for number in range(1, 101, 8):
        assert detector.record_rejection(number, 0.0, 0.01, None, 100) is RateLimitEvidence.NOTHING


def test_the_order_of_rejections_does_not_matter() -> None:
    detector, numbers = RateLimitDetector(), list(range(1, DOMINANT + 1))
    random.Random(5).shuffle(numbers)
    seen = [detector.record_rejection(number, 0.0, 0.01, None, 500) for number in numbers]
    assert seen[-1] is RateLimitEvidence.DOMINANT
    assert set(seen[:-1]) == {RateLimitEvidence.NOTHING}


def test_attempts_before_the_slowdown_show_nothing() -> None:
    detector = RateLimitDetector()
    for number in range(1, DOMINANT + 1):
        evidence = detector.record_rejection(number, 0.0, 0.01, None, 500)
    assert evidence is RateLimitEvidence.DOMINANT
    assert {detector.record_rejection(number, 0.0, 0.02, None, 500) for number in range(13, 501)} == {
        RateLimitEvidence.NOTHING
    }


def test_it_is_a_limit_if_slowing_down_ends_the_rejections() -> None:
    sender = Sender()
    until_suspected(sender, 5)
    detector = sender.detector
    assert detector.testing
    assert detector.accepted / detector.seconds == pytest.approx(80.0, rel=0.1)
    while detector.testing:
        sender.attempt(False)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.LIMIT]
    assert detector.limited
    # After that, a few rejections are enough to find the limit again.
    for number in range(10 * KNOWN):
        if sender.attempt(number % 10 == 0) is RateLimitEvidence.SUSPECTED:
            break
    assert number <= 10 * KNOWN


@pytest.mark.parametrize("one_in", [3, 10, 30])
def test_it_is_chance_if_slowing_down_does_not_help(one_in: int) -> None:
    sender = Sender()
    until_suspected(sender, one_in)
    while sender.detector.testing:
        sender.attempt(sender.number % one_in == 0)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.CHANCE]
    assert not sender.detector.limited
    # The verdict holds for a while.
    for _ in range(20 * 100):
        sender.attempt(sender.number % one_in == 0)
    assert sender.seen == [RateLimitEvidence.SUSPECTED, RateLimitEvidence.CHANCE]


def test_more_rejections_after_the_slowdown_are_not_chance() -> None:
    sender = Sender()
    until_suspected(sender, 10)
    for number in range(40):
        sender.attempt(number % 3 != 0)
    assert RateLimitEvidence.CHANCE not in sender.seen


def test_rejections_of_one_moment_show_no_rate() -> None:
    detector = RateLimitDetector()
    for number in range(1, 2 * SUSPICIOUS):
        assert detector.record_rejection(3 * number, 1.0, 1.0, None, 500) is RateLimitEvidence.NOTHING
    assert detector.record_rejection(3 * 2 * SUSPICIOUS, 1.5, 1.5, None, 500) is RateLimitEvidence.SUSPECTED


@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 0.3), rate=st.floats(1.0, 1000.0))
def test_random_rejections_cause_few_tests_and_pauses(seed: int, share: float, rate: float) -> None:
    rng, sender, slowed, dominant = random.Random(seed), Sender(rate), 0, 0
    for _ in range(20_000):
        dominant += sender.attempt(rng.random() < share) is RateLimitEvidence.DOMINANT
        slowed += sender.detector.testing
    assert dominant <= 4
    # For slow senders a test takes longer than the time it can save.
    if rate >= 20:
        assert slowed <= 0.35 * 20_000


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.integers(0, 60), st.floats(0, 5), st.one_of(st.none(), st.floats(0.001, 1e6))
        ),
        max_size=300,
    )
)
def test_any_order_of_events_is_valid(events: list[tuple[bool, int, float, float | None]]) -> None:
    detector, now, last = RateLimitDetector(), 0.0, 0
    for rejected, back, passed, retry_after in events:
        now, last = now + passed, last + 1
        number = max(1, last - back)
        if rejected:
            evidence = detector.record_rejection(number, max(0.0, now - back), now, retry_after, last)
        else:
            evidence = detector.record_acceptance(number, now)
        if evidence is RateLimitEvidence.SUSPECTED:
            assert detector.testing
            assert detector.accepted >= 0
            assert detector.seconds > 0
        if detector.testing:
            assert detector.limited


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
def test_a_daily_limit_is_recognised(status: int, body: bytes, per_day: bool) -> None:
    assert is_daily_limit(StatusError("rejected", status, body=body)) is per_day
