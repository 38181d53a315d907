"""The breaker in a client, on trio and asyncio, and in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace_breaker import Breaker

URL = "http://fake.test/v1"


async def fail(client: headrace.Client, times: int) -> None:
    for _ in range(times):
        with pytest.raises(headrace.CallError):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_policy_contract() -> None:
    await check_policy_contract(Breaker)


@pytest.mark.anyio
async def test_classic_opens_after_five_failures_and_fails_fast() -> None:
    breaker, endpoint, recorder = Breaker.classic(), FakeEndpoint(otherwise=500), EventRecorder()
    async with endpoint.client([breaker], observers=[recorder]) as client:
        assert breaker.state(URL) == "closed"
        assert breaker.open_circuits() == {}
        await fail(client, 5)
        assert breaker.state(URL) == breaker.state(URL + "/") == "open"
        with pytest.raises(headrace.CircuitOpen, match=r"next probe is due in [56]\d\.\d s") as caught:
            await client.chat("Hallo")
    assert 59.0 < caught.value.retry_after <= 60.0
    assert caught.value.attempts == 0
    assert len(endpoint.attempts) == 5
    because = "injected 500 (POST /chat/completions: status 500; the endpoint failed)"
    assert f"is open ({because})" in str(caught.value)
    assert breaker.open_circuits() == {URL: because}
    assert [(event.name, dict(event.data)) for event in recorder.events] == [
        ("circuit", {"endpoint": URL, "state": "open", "open_for": 60.0, "because": because})
    ]


@pytest.mark.anyio
async def test_failure_rate_opens_the_circuit() -> None:
    breaker = Breaker(minimum_calls=10)
    endpoint = FakeEndpoint("ok", 500, "ok", 500, "ok", 500, "ok", 500, "ok", 500)
    async with endpoint.client([breaker]) as client, client.map(["Hallo"] * 10, max_in_flight=1) as outcomes:
        assert len([outcome async for outcome in outcomes]) == 10
    assert breaker.state(URL) == "open"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("step", "state"),
    [
        (500, "open"),
        (503, "open"),
        (408, "open"),
        (headrace.ConnectError("refused"), "open"),
        (headrace.TLSError("bad certificate"), "open"),
        (headrace.CallTimeout("slow"), "open"),
        (headrace.IncompleteReply("cut"), "open"),
        (400, "closed"),
        (401, "closed"),
        (404, "closed"),
        (409, "closed"),
        (422, "closed"),
        (429, "closed"),
        (Answer(body=b"<html>"), "closed"),
        (headrace.DeadlineExceeded("too late"), "closed"),
        (headrace.BudgetExceeded("from an inner policy"), "closed"),
        (ZeroDivisionError("a bug in an inner policy"), "closed"),
    ],
)
async def test_which_errors_count_as_failures(step: Any, state: str) -> None:
    breaker = Breaker.classic()
    async with FakeEndpoint(otherwise=step).client([breaker]) as client:
        await fail(client, 5)
    assert breaker.state(URL) == state


@pytest.mark.anyio
async def test_cancellations_are_not_failures() -> None:
    breaker = Breaker.classic()
    async with FakeEndpoint(otherwise=Answer(delay=60)).client([breaker]) as client:
        for _ in range(6):
            with anyio.move_on_after(0.001):
                await client.chat("Hallo")
    assert breaker.state(URL) == "closed"


@pytest.mark.anyio
async def test_each_endpoint_has_its_own_circuit() -> None:
    breaker = Breaker.classic()
    async with FakeEndpoint(otherwise=500).client([breaker]) as client:
        await fail(client, 5)
    async with FakeEndpoint().client([breaker], base_url="http://other.test/v1") as client:
        assert (await client.chat("Hallo")).text == "ok"
    assert breaker.state(URL) == "open"
    assert breaker.state("http://other.test/v1") == "closed"


@pytest.mark.trio
async def test_probe_is_sent_after_60_seconds(autojump_clock: trio.testing.MockClock) -> None:
    breaker, endpoint, recorder = Breaker.classic(), FakeEndpoint(*[500] * 6), EventRecorder()
    async with endpoint.client([breaker], observers=[recorder]) as client:
        await fail(client, 5)
        await trio.sleep(59.5)
        await fail(client, 1)
        assert len(endpoint.attempts) == 5
        await trio.sleep(0.5)
        assert breaker.state(URL) == "open"
        await fail(client, 1)  # the probe, which fails
        assert len(endpoint.attempts) == 6
        await trio.sleep(30)
        with pytest.raises(headrace.CircuitOpen) as caught:
            await client.chat("Hallo")
        assert caught.value.retry_after == 30.0
        await trio.sleep(30)
        assert (await client.chat("Hallo")).text == "ok"
        assert breaker.state(URL) == "closed"
    states = [data["state"] for data in recorder.data("circuit")]
    assert states == ["open", "half_open", "open", "half_open", "closed"]


@pytest.mark.trio
async def test_at_most_probes_calls_are_let_through(autojump_clock: trio.testing.MockClock) -> None:
    breaker = Breaker(failure_rate=None, consecutive=5, probes=4)
    endpoint = FakeEndpoint(*[500] * 5, otherwise=Answer(delay=1.0))
    async with endpoint.client([breaker]) as client:
        await fail(client, 5)
        await trio.sleep(60)
        async with client.map(["Hallo"] * 100) as outcomes:
            seen = [outcome async for outcome in outcomes]
        assert endpoint.most_in_flight == 4
        refused = [outcome.error for outcome in seen if not outcome.ok]
        assert len(refused) == 96
        assert all(isinstance(error, headrace.CircuitOpen) for error in refused)
        assert "its probes are under way" in str(refused[0])
        assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_cancelled_probe_releases_its_permit(autojump_clock: trio.testing.MockClock) -> None:
    breaker = Breaker.classic()
    endpoint = FakeEndpoint(*[500] * 5, Answer(delay=1000.0))
    async with endpoint.client([breaker]) as client:
        await fail(client, 5)
        await trio.sleep(60)
        with anyio.move_on_after(5):
            await client.chat("the probe")
        assert breaker.state(URL) == "half_open"
        assert (await client.chat("Hallo")).text == "ok"
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
@pytest.mark.parametrize("late", ["ok", 500])
async def test_result_from_an_earlier_state_is_ignored(
    autojump_clock: trio.testing.MockClock, late: str | int
) -> None:
    breaker = Breaker.classic()
    slow = Answer(delay=30.0, status=200 if late == "ok" else 500)
    endpoint = FakeEndpoint(slow, *[500] * 5)
    async with endpoint.client([breaker]) as client, trio.open_nursery() as nursery:

        async def call_before() -> None:
            if late == "ok":
                await client.chat("Hallo")
            else:
                await fail(client, 1)

        nursery.start_soon(call_before)
        await trio.sleep(1)
        await fail(client, 5)
        await trio.sleep(40)
        with pytest.raises(headrace.CircuitOpen) as caught:
            await client.chat("Hallo")
    # The late success did not close it, and the late failure did not open it again.
    assert caught.value.retry_after == 20.0


@pytest.mark.trio
async def test_client_error_of_a_probe_closes_the_circuit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    breaker = Breaker.classic()
    async with FakeEndpoint(*[500] * 5, 400).client([breaker]) as client:
        await fail(client, 5)
        await trio.sleep(60)
        await fail(client, 1)
    assert breaker.state(URL) == "closed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_rate": 0.0},
        {"failure_rate": 1.1},
        {"window": 0.0},
        {"minimum_calls": 0},
        {"consecutive": 0},
        {"open_for": float("nan")},
        {"probes": 0},
        {"failure_rate": None, "down_after": None},
        {"down_after": 0.0},
        {"slow_after": 0.0, "slow_rate": 0.5},
        {"slow_rate": 1.1, "slow_after": 5.0},
        {"slow_after": 5.0},
        {"slow_rate": 0.5},
        {"window_calls": 0},
        {"window_calls": 10, "window": 20.0},
        {"window": None},
    ],
)
def test_out_of_range_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(headrace.SettingsError, match=next(iter(wrong))):
        Breaker(**wrong)


def test_settings_from_file_environment_and_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headrace.toml").write_text("[breaker]\nconsecutive = 5\nwindow = 30\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_BREAKER_PROBES", "2")
    client = FakeEndpoint().client(None, breaker={"open_for": 10})
    (policy,) = (policy for policy in client.policies if isinstance(policy, Breaker))
    assert (policy.consecutive, policy.window, policy.probes, policy.open_for) == (5, 30.0, 2, 10.0)


def test_unknown_setting_is_an_error() -> None:
    with pytest.raises(headrace.SettingsError, match="did you mean 'probes'"):
        FakeEndpoint().client(None, breaker={"probe": 5})
