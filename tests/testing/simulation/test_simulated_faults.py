"""Faults of a simulated endpoint, and their effect on calls."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from headrace.testing.simulation import BrownOut, ErrorBurst, Fixed, Outage, VariantResult

Ran = Callable[..., VariantResult]


def test_endpoint_with_capacity_serves_all_in_the_service_time(run_scenario: Ran) -> None:
    run = run_scenario(endpoint={"round_trip": 0.02})
    total = run.total
    assert total.offered == total.served == total.attempts
    assert total.failed == total.retries == 0
    assert total.offered == pytest.approx(600, abs=100)
    assert total.latencies.mean == pytest.approx(0.12)
    assert total.waits == pytest.approx(0.12 * total.served)
    assert total.level("busy") * total.seconds == pytest.approx(0.1 * total.served)
    assert run.highest["queue"] == 0


@pytest.mark.parametrize(
    ("kind", "code", "wait"), [("refused", "connect_error", 0.0), ("503", "server_error", 0.0)]
)
def test_outage_fails_only_calls_within_it(run_scenario: Ran, kind: str, code: str, wait: float) -> None:
    run = run_scenario(outages=(Outage(from_=20, to=40, kind=kind),))
    for interval in run.intervals[:6]:
        if 20 <= interval.start < 40:
            assert interval.failures == {code: interval.offered}
        else:
            assert interval.failed == 0
    assert run.total.served + run.total.failed == run.total.offered


def test_hanging_attempts_end_with_the_outage_or_a_timeout(run_scenario: Ran) -> None:
    outages = (Outage(from_=20, to=40, kind="hang"),)
    cut = run_scenario({"timeout": 60}, outages=outages)
    assert cut.total.failures.keys() == {"connect_error"}
    assert cut.intervals[2].failed == cut.intervals[3].failed == 0
    assert cut.intervals[4].failed == sum(each.offered for each in cut.intervals[2:4])
    short = run_scenario({"timeout": 5}, outages=outages)
    assert short.total.failures.keys() == {"timeout", "connect_error"}
    assert short.intervals[4].failed == pytest.approx(50, abs=25), "those of the last five seconds"


def test_brown_out_removes_servers_or_slows_them(run_scenario: Ran) -> None:
    slow = run_scenario(brown_outs=(BrownOut(from_=20, to=40, speed=0.1),))
    assert [each.latencies.mean > 0.9 for each in slow.intervals[:6]] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert slow.total.failed == 0
    fewer = run_scenario(
        endpoint={"capacity": 10, "service": Fixed(0.9)},
        brown_outs=(BrownOut(from_=20, to=40, capacity=0.5),),
    )
    assert max(each.level("busy") for each in fewer.intervals[2:4]) <= 5.5
    assert fewer.intervals[3].level("queue") > 20
    assert fewer.total.failed == 0


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("500", "server_error"),
        ("503", "server_error"),
        ("429", "rate_limited"),
        ("reset", "incomplete_reply"),
    ],
)
def test_error_burst_affects_its_share_of_attempts(run_scenario: Ran, kind: str, code: str) -> None:
    run = run_scenario(errors=(ErrorBurst(from_=20, to=40, share=0.5, kinds=(kind,)),))
    assert run.total.failures.keys() == {code}
    hit = sum(each.offered for each in run.intervals[2:4])
    assert run.total.failed == pytest.approx(hit / 2, abs=4 * (hit / 4) ** 0.5)


def test_full_queue_and_long_wait_get_503(run_scenario: Ran) -> None:
    busy = {"capacity": 1, "service": Fixed(1.0)}
    full = run_scenario(endpoint=busy | {"queue": 5})
    assert full.total.failures.keys() == {"server_error"}
    assert full.highest["queue"] == 5
    assert full.total.latencies.percentile(100) <= 6.1
    late = run_scenario(endpoint=busy | {"queue_timeout": 2.5})
    assert late.total.failures.keys() == {"server_error"}
    assert late.total.latencies.percentile(100) <= 3.6
    assert late.total.served == pytest.approx(60, abs=4), "the server is never idle"


def test_request_and_token_limits_allow_their_rates(run_scenario: Ran) -> None:
    requests = run_scenario(endpoint={"requests_per_minute": 120})
    assert requests.total.failures.keys() == {"rate_limited"}
    assert requests.total.served == pytest.approx(240, abs=3), "a minute's worth at once, and one by and by"
    tokens = run_scenario(endpoint={"tokens_per_minute": 36_000})
    assert tokens.total.failures.keys() == {"rate_limited"}
    assert tokens.total.served == pytest.approx(240, abs=3), "of 300 tokens each"


def test_limited_call_honours_retry_after(run_scenario: Ran) -> None:
    limited = (ErrorBurst(to=100.0, share=1.0, kinds=("429",)),)
    run = run_scenario(
        {"policies": ["retry"], "retry": {"attempts": 3, "base": 0, "jitter": "none"}}, errors=limited
    )
    assert run.total.failures == {"rate_limited": run.total.offered}
    assert run.total.waits == pytest.approx(2.0 * run.total.offered), "a second each time"


def test_revoked_key_fails_all_later_calls(run_scenario: Ran) -> None:
    run = run_scenario(endpoint={"key_revoked_at": 30.0})
    assert [each.failed > 0 for each in run.intervals[:6]] == [False] * 3 + [True] * 3
    assert run.total.failures.keys() == {"authentication_error"}


def test_cancelled_attempt_releases_its_server(run_scenario: Ran) -> None:
    run = run_scenario({"timeout": 0.5}, endpoint={"capacity": 2, "service": Fixed(1.0)})
    assert run.total.failures == {"timeout": run.total.offered}
    assert run.highest["busy"] == 2
    assert run.total.level("queue") * run.total.seconds + run.total.level("busy") * run.total.seconds == (
        pytest.approx(0.5 * run.total.offered)
    )


def test_simulation_runs_the_real_policies(run_scenario: Ran) -> None:
    outages = (Outage(from_=20, to=40),)
    retried = run_scenario(
        {"policies": ["retry"], "retry": {"attempts": 4, "base": 0.1, "budget": "null"}}, outages=outages
    )
    assert retried.policies == ("retry",)
    assert retried.intervals[2].attempts == pytest.approx(4 * retried.intervals[2].offered, rel=0.1)
    broken = run_scenario({"policies": ["breaker"], "breaker": {"open_for": 5, "window": 5}}, outages=outages)
    assert broken.total.failures["circuit_open"] > 100
    assert broken.intervals[2].circuit["open"] > 5
    assert broken.intervals[3].state == "open"
    assert broken.intervals[5].state == "closed"


def test_cost_follows_from_the_tokens(run_scenario: Ran) -> None:
    sizes = {"prompt_tokens": Fixed(1_000.0), "completion_tokens": Fixed(100.0)}
    prices = {"some": {"input": "1", "output": "10"}}
    run = run_scenario({"policies": ["cost"], "cost": {"prices": prices}, "model": "some"}, endpoint=sizes)
    assert run.total.cost == run.total.served * Decimal("0.002")
    assert run_scenario().total.cost is None


def test_observing_policies_are_left_out(run_scenario: Ran) -> None:
    assert "logging" not in run_scenario({"policies": ["logging", "retry"]}).policies
