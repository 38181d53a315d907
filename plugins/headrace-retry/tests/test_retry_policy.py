"""The retry policy in a client, on asyncio and trio, and in virtual time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace_retry import Retry


@pytest.mark.anyio
async def test_retry_fulfils_the_policy_contract() -> None:
    await check_policy_contract(lambda: Retry(base=0.001))


@pytest.mark.anyio
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_retryable_statuses_are_retried(status: int) -> None:
    endpoint = FakeEndpoint(status, status, "now it works")
    async with endpoint.client([Retry(base=0.001)]) as client:
        reply = await client.chat("Hallo")
    assert (reply.text, reply.attempts) == ("now it works", 3)


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 413, 422, 501])
async def test_other_statuses_are_not_retried(status: int) -> None:
    endpoint = FakeEndpoint(status)
    async with endpoint.client([Retry(base=0.001)]) as client:
        with pytest.raises(headrace.StatusError):
            await client.chat("Hallo")
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (headrace.ConnectError, 2),
        (headrace.TLSError, 1),
        (headrace.CallTimeout, 2),
        (headrace.DeadlineExceeded, 1),
        (headrace.IncompleteReply, 2),
        (headrace.InvalidReply, 2),
        (headrace.CircuitOpen, 1),
        (headrace.BudgetExceeded, 1),
        (headrace.AnswerError, 1),
    ],
)
async def test_errors_are_retried_if_retryable(error: type[headrace.CallError], attempts: int) -> None:
    endpoint = FakeEndpoint(error("failed"))
    async with endpoint.client([Retry(base=0.001)]) as client, client.map(["Hallo"]) as outcomes:
        assert [outcome.attempts async for outcome in outcomes] == [attempts]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "should_retry", "attempts"),
    [(400, "true", 2), (501, "True ", 2), (503, "false", 1), (429, "false", 1), (503, "maybe", 2)],
)
async def test_x_should_retry_overrides_the_status(status: int, should_retry: str, attempts: int) -> None:
    endpoint = FakeEndpoint(Answer(status=status, headers={"x-should-retry": should_retry}))
    async with endpoint.client([Retry(base=0.001)]) as client, client.map(["Hallo"]) as outcomes:
        assert [outcome.attempts async for outcome in outcomes] == [attempts]


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, {"x-should-retry": "true"}])
async def test_an_account_without_credit_is_not_retried(headers: dict[str, str]) -> None:
    error = {"error": {"message": "no credit", "code": "insufficient_quota"}}
    endpoint = FakeEndpoint(Answer(status=429, body=error, headers=headers))
    async with endpoint.client([Retry(base=0.001)]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
async def test_the_last_error_is_raised_unchanged() -> None:
    endpoint = FakeEndpoint(headrace.ConnectError("refused"), headrace.CallTimeout("slow"), 503)
    async with endpoint.client([Retry(base=0.001)]) as client:
        with pytest.raises(headrace.ServerError) as caught:
            await client.chat("Hallo")
    assert caught.value.attempts == 3
    assert caught.value.__context__ is None


@pytest.mark.anyio
async def test_one_attempt_adds_no_wrapper() -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Retry(attempts=1).wrap(send) is send


@pytest.mark.anyio
async def test_an_error_that_is_not_a_call_error_is_not_retried() -> None:
    endpoint = FakeEndpoint(ZeroDivisionError("a bug"))
    async with endpoint.client([Retry(base=0.001)]) as client:
        with pytest.raises(headrace.PolicyError):
            await client.chat("Hallo")
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
async def test_observers_get_an_event_per_retry() -> None:
    recorder = EventRecorder()
    endpoint = FakeEndpoint(503, headrace.ConnectError("refused"))
    async with endpoint.client([Retry(base=0.001, jitter="none")], observers=[recorder]) as client:
        await client.chat("Hallo")
    assert [(event.name, dict(event.data)) for event in recorder.events] == [
        ("retry", {"attempt": 1, "delay": 0.001, "error": "server_error", "status": 503}),
        ("retry", {"attempt": 2, "delay": 0.002, "error": "connect_error"}),
    ]


def gaps(endpoint: FakeEndpoint) -> list[float]:
    return [round(b - a, 6) for a, b in zip(endpoint.times, endpoint.times[1:], strict=False)]


@pytest.mark.trio
async def test_the_classic_policy_waits_1_2_and_4_seconds(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(otherwise=500)
    async with endpoint.client([Retry.classic()]) as client:
        with pytest.raises(headrace.ServerError):
            await client.chat("Hallo")
    assert gaps(endpoint) == [1.0, 2.0, 4.0]


@pytest.mark.trio
async def test_a_seeded_generator_gives_the_same_jitter(autojump_clock: trio.testing.MockClock) -> None:
    seen = []
    for _ in range(2):
        endpoint = FakeEndpoint(otherwise=500)
        async with endpoint.client([Retry(attempts=5, rng=random.Random(7))]) as client:
            with pytest.raises(headrace.ServerError):
                await client.chat("Hallo")
        seen.append(gaps(endpoint))
    assert seen[0] == seen[1]
    assert all(gap <= limit for gap, limit in zip(seen[0], [0.5, 1, 2, 4], strict=True))


@pytest.mark.trio
@pytest.mark.parametrize(
    ("headers", "wait"), [({"retry-after": "20"}, 20.0), ({"retry-after-ms": "1500"}, 1.5)]
)
async def test_retry_after_is_waited_for(
    autojump_clock: trio.testing.MockClock, headers: dict[str, str], wait: float
) -> None:
    for jitter in ("none", "full"):
        endpoint = FakeEndpoint(Answer(status=429, headers=headers))
        async with endpoint.client([Retry(jitter=jitter)]) as client:
            await client.chat("Hallo")
        (gap,) = gaps(endpoint)
        assert wait <= gap <= wait + (0.5 if jitter == "full" else 0.0)


@pytest.mark.trio
@pytest.mark.parametrize("value", ["0", "-10", "inf", "nan", "Thu, 29 Sep 2023 16:26:57 GMT"])
async def test_an_invalid_retry_after_is_ignored(autojump_clock: trio.testing.MockClock, value: str) -> None:
    endpoint = FakeEndpoint(Answer(status=429, headers={"retry-after": value}))
    async with endpoint.client([Retry(jitter="none")]) as client:
        await client.chat("Hallo")
    assert gaps(endpoint) == [0.5]


@pytest.mark.trio
async def test_a_retry_after_above_the_maximum_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint(Answer(status=429, headers={"retry-after": "300"}))
    async with endpoint.client([Retry()]) as client:
        with pytest.raises(headrace.RateLimited, match="asks to retry after 300 s") as caught:
            await client.chat("Hallo")
    assert caught.value.attempts == 1
    assert trio.current_time() == 0.0


@pytest.mark.trio
async def test_no_wait_reaches_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(otherwise=503)
    async with endpoint.client([Retry(attempts=10, base=1.0, jitter="none")]) as client:
        with pytest.raises(headrace.ServerError) as caught:
            await client.chat("Hallo", deadline=6.0)
    # After 1 s and 2 s the next wait of 4 s would end at 7 s.
    assert caught.value.attempts == 3
    assert trio.current_time() == 3.0


@pytest.mark.trio
async def test_total_time_is_limited(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(otherwise=503)
    policy = Retry(attempts=1000, max_elapsed=60.0)
    async with endpoint.client([policy]) as client:
        with pytest.raises(headrace.ServerError):
            await client.chat("Hallo")
    assert 40.0 < trio.current_time() <= 60.0


@pytest.mark.anyio
async def test_an_open_circuit_fails_fast() -> None:
    endpoint = FakeEndpoint(500, headrace.CircuitOpen("open", 30.0))
    async with endpoint.client([Retry(base=0.001)]) as client:
        with pytest.raises(headrace.CircuitOpen):
            await client.chat("Hallo")
    assert len(endpoint.attempts) == 2


@pytest.mark.trio
async def test_a_waiting_call_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(Answer(status=429, headers={"retry-after": "100"}))
    async with endpoint.client([Retry()]) as client:
        with anyio.move_on_after(10) as scope:
            await client.chat("Hallo")
        assert scope.cancelled_caught
        assert client.in_flight == 0
    assert trio.current_time() == 10.0
    assert len(endpoint.attempts) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"base": -1.0},
        {"base": float("nan")},
        {"factor": 0.5},
        {"cap": float("inf")},
        {"jitter": "some"},
        {"max_elapsed": -1.0},
        {"max_retry_after": float("nan")},
        {"budget": -1},
    ],
)
def test_settings_out_of_range_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(headrace.SettingsError, match=next(iter(wrong))):
        Retry(**wrong)


def retry_of(client: headrace.Client) -> Retry:
    (policy,) = (policy for policy in client.policies if isinstance(policy, Retry))
    return policy


def test_settings_from_file_environment_and_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headrace.toml").write_text("[retry]\nattempts = 7\nbase = 1\njitter = 'none'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_RETRY_BASE", "0.25")
    policy = retry_of(FakeEndpoint().client(None, retry={"cap": 5}))
    assert (policy.attempts, policy.base, policy.cap, policy.jitter) == (7, 0.25, 5.0, "none")


def test_an_unknown_setting_is_rejected() -> None:
    with pytest.raises(headrace.SettingsError, match="did you mean 'attempts'"):
        FakeEndpoint().client(None, retry={"attempt": 5})
    with pytest.raises(headrace.SettingsError, match="rng"):
        FakeEndpoint().client(None, retry={"rng": 5})
