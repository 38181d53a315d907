"""The policies over a real server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace import BudgetExceeded, CircuitOpen, Client, RateLimited, SettingsError
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_redis import Account, headrace_policies
from headrace_redis.pace import SharedPace
from headrace_redis.shared_lane import BOOKING_TTL
from redis_server import RedisProcess, start_server

pytestmark = pytest.mark.anyio

PRICES = {"fake-model": {"input": "100000", "output": "0"}}  # 10 prompt tokens: 1 USD


def make_client(
    account: Account, endpoint: FakeEndpoint | None = None, *more: Any, **keywords: Any
) -> Client:
    return (endpoint or FakeEndpoint()).client([*account.policies(), *more], **keywords)


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not done():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.005)


async def check_contract(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    # With turns booked ahead.
    monkeypatch.setattr("headrace_redis.shared_lane.BOOKING_TTL", 60.0)
    await check_policy_contract(lambda: account.policies()[0])
    await check_policy_contract(lambda: account.policies()[1])


async def test_the_policies_fulfil_the_contract(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_contract(redis.account(requests_per_minute=600_000, budget=5), monkeypatch)


async def test_the_policies_fulfil_the_contract_over_valkey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server("valkey-server", tmp_path)
    try:
        await check_contract(server.account(requests_per_minute=600_000, budget=5), monkeypatch)
    finally:
        server.kill()


def test_without_a_url_there_are_no_policies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = headrace.settings.load_settings({})
    assert list(headrace_policies(settings)) == []


def test_with_a_url_the_policies_are_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("headrace_cost")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_REDIS_URL", "redis://:canary@localhost/1")
    monkeypatch.setenv("HEADRACE_REDIS_BUDGET", "5")
    names = [policy.name for policy in Client(base_url="http://fake.test/v1").policies]
    assert names.index("redis-budget") < names.index("cost") < names.index("redis")


def test_the_password_is_never_shown() -> None:
    account = Account(url="redis://:canary@localhost:6379/1", budget=5)
    assert "canary" not in repr([account, *account.policies()])
    for nonsense in ("http://:canary@localhost", "redis://:canary@", "redis://:canary@h:nonsense"):
        with pytest.raises(SettingsError) as raised:
            Account(url=nonsense).policies()
        assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"requests_per_minute": 0}, "above 0"),
        ({"limits": {"m": 5}}, "must be a table"),
        ({"limits": {"m": {"requests_per_minut": 5}}}, "did you mean 'requests_per_minute'"),
        ({"budget": "much"}, "amount in USD"),
        ({"budget": "1e999999999"}, "amount in USD"),
        ({"budget": -1}, "at least 0"),
        ({"burst": float("inf")}, "above 0"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Account(**settings)


def test_the_most_specific_limit_applies() -> None:
    account = Account(
        requests_per_minute=60,
        limits={
            "e/m": {"requests_per_minute": 600},
            "m": {"tokens_per_minute": 6000, "requests_per_minute": 1},
        },
    )
    limits = account.limits_of("e", "m")
    assert (limits.interval, limits.per_token) == (0.1, 0.01)
    assert account.limits_of("e", "other").interval == 1


async def test_clients_share_one_limit(redis: RedisProcess) -> None:
    endpoint, account = FakeEndpoint(), redis.account(requests_per_minute=6000, burst=0.2)
    async with (
        make_client(account, endpoint) as one,
        make_client(account, endpoint) as other,
        anyio.create_task_group() as group,
    ):
        for client in (one, other):
            for _ in range(30):
                group.start_soon(client.chat, "Hallo")
    times = sorted(endpoint.times)
    assert len(times) == 60
    assert times[-1] - times[0] >= (60 - 20 - 1) / 100  # a burst of 20, then 100 per second


async def test_estimates_are_replaced_by_usage(redis: RedisProcess) -> None:
    # A call is estimated at 10,000 tokens and uses 15; the difference is refunded with the next exchange.
    account = redis.account(tokens_per_minute=600_000, burst=1.5)
    async with make_client(account) as client:
        with anyio.fail_after(20):
            for _ in range(50):
                await client.chat("Hallo", max_tokens=10_000)


async def test_a_cancelled_call_leaves_its_turn_to_others(redis: RedisProcess) -> None:
    account = redis.account(requests_per_minute=60, burst=1)
    async with make_client(account) as client:
        await client.chat("Hallo")
        for _ in range(5):
            with anyio.move_on_after(0.02):
                await client.chat("Hallo")
        with anyio.fail_after(10):  # six seconds and more if cancelled calls kept their turns
            begun = anyio.current_time()
            await client.chat("Hallo")
            assert anyio.current_time() - begun < 5


DAYS = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200, Used 200"}}


async def test_a_single_429_causes_no_pause(redis: RedisProcess) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "60"}))
    recorder = EventRecorder()
    async with make_client(redis.account(), refusing, observers=[recorder]) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        with anyio.fail_after(10):
            await client.chat("Hallo")
    assert recorder.data("pause") == []


async def test_all_processes_pause_when_rejections_dominate(redis: RedisProcess) -> None:
    refusing = FakeEndpoint(*[Answer(status=429, headers={"retry-after": "60"})] * DOMINANT)
    recorder = EventRecorder()
    async with make_client(redis.account(), refusing, observers=[recorder]) as client:
        for _ in range(DOMINANT):
            with pytest.raises(RateLimited):
                await client.chat("Hallo")
    assert [pause["seconds"] for pause in recorder.data("pause")] == [60.0]


async def test_an_exhausted_daily_quota_pauses_all_processes(redis: RedisProcess) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after-ms": "600"}, body=DAYS))
    recorder, answering = EventRecorder(), FakeEndpoint()
    account = redis.account()
    async with (
        make_client(account, refusing, observers=[recorder]) as one,
        make_client(account, answering) as other,
    ):
        with pytest.raises(RateLimited):
            await one.chat("Hallo")
        refused = refusing.times[0]
        await until(lambda: b"lane" in redis.ask("KEYS", "*lane*"))
        async with anyio.create_task_group() as group:
            group.start_soon(one.chat, "Hallo")
            group.start_soon(other.chat, "Hallo")
    assert min(refusing.times[1], answering.times[0]) - refused >= 0.59
    assert recorder.data("pause") == [{"endpoint": "fake.test", "model": "fake-model", "seconds": 0.6}]


async def test_calls_fail_in_a_pause_above_the_maximum(redis: RedisProcess) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "3600"}, body=DAYS))
    async with make_client(redis.account(), refusing) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        with pytest.raises(CircuitOpen, match="are paused; retry after") as raised:
            await client.chat("Hallo")
    assert 3500 < raised.value.retry_after <= 3600


async def test_an_account_without_credit_causes_no_pause(redis: RedisProcess) -> None:
    body = {"error": {"message": "no credit", "code": "insufficient_quota"}}
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "3600"}, body=body))
    async with make_client(redis.account(), refusing) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        assert (await client.chat("Hallo")).text == "ok"


async def test_a_circuit_opened_by_one_process_is_open_in_the_others(redis: RedisProcess) -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    failing, answering, account = FakeEndpoint(503), FakeEndpoint(), redis.account()
    breaker = Breaker(consecutive=1, open_for=0.5, probes=1)
    async with make_client(account, failing, breaker) as one, make_client(account, answering) as other:
        with pytest.raises(headrace.ServerError):
            await one.chat("Hallo")
        await until(lambda: b"circuit" in redis.ask("KEYS", "*circuit*"))
        with pytest.raises(CircuitOpen, match="another process") as raised:
            await other.chat("Hallo")
        assert 0 < raised.value.retry_after <= 2.5
        assert not answering.attempts
        await anyio.sleep(0.5)
        await one.chat("Hallo")  # the probe; the shared circuit does not block it
        await until(lambda: b"circuit" not in redis.ask("KEYS", "*circuit*"))
        assert (await other.chat("Hallo")).text == "ok"


async def test_all_processes_share_one_budget(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(3))
    async with (
        make_client(account, None, Cost(prices=PRICES)) as one,
        make_client(account, None, Cost(prices=PRICES)) as other,
    ):
        for client in (one, other, one):
            await client.chat("Hallo")
        for client in (one, other):
            await anyio.sleep(2 * BOOKING_TTL)  # by then it must ask again what the others have spent
            with pytest.raises(BudgetExceeded, match="shared budget of 3 USD is spent"):
                await client.chat("Hallo")
    assert b"3000000000" in redis.ask("HGET", "headrace:spent", "total")


async def test_the_cost_of_a_stream_is_counted_at_its_end(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(3))
    async with make_client(account, None, Cost(prices=PRICES)) as client:
        async with client.stream("Hallo") as stream:
            async for _ in stream:
                pass
        await until(lambda: b"1000000000" in redis.ask("HGET", "headrace:spent", "total"))


async def test_spending_survives_a_server_that_loses_its_data(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    async with make_client(redis.account(budget=Decimal(9)), None, Cost(prices=PRICES)) as client:
        await client.chat("Hallo")
        redis.kill()
        await client.chat("Hallo")
        redis.start()
        await until(lambda: b"2000000000" in redis.ask("HGET", "headrace:spent", "total"))


async def test_calls_continue_while_redis_is_killed_and_restarted(
    redis: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace.redis")
    recorder, account = EventRecorder(), redis.account(requests_per_minute=60_000)
    async with make_client(account, observers=[recorder]) as client:

        async def calls(number: int) -> None:
            async with client.map(["Hallo"] * number, max_in_flight=20) as outcomes:
                async for outcome in outcomes:
                    outcome.unwrap()

        await calls(50)
        redis.kill()
        await calls(50)
        await calls(50)
        redis.start()
        await until(lambda: "shared again" in caplog.text)
        await calls(50)
        assert b"member" in redis.ask("KEYS", "*member*")
    assert recorder.data("redis") == [{"state": "away"}, {"state": "back"}]
    message = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in message] == ["WARNING", "INFO"]
    assert f"Redis at 127.0.0.1:{redis.port} is unavailable" in message[0][1]


async def test_a_server_that_loses_its_data_allows_no_second_burst(redis: RedisProcess) -> None:
    endpoint = FakeEndpoint()
    async with make_client(redis.account(requests_per_minute=600), endpoint) as client:
        for _ in range(10):  # the burst: a second's worth
            await client.chat("Hallo")
        redis.ask("FLUSHALL")
        forgotten = anyio.current_time()
        for _ in range(11):
            await client.chat("Hallo")
    # A second burst would let ten of these go at once. On a slow machine it only takes longer.
    assert endpoint.times[-1] - forgotten >= 0.95


async def test_a_server_that_does_not_answer_delays_calls_only_briefly(redis: RedisProcess) -> None:
    async with make_client(redis.account(timeout=0.05)) as client:
        await client.chat("Hallo")
        await anyio.sleep(0.15)  # by then it must ask again
        redis.stop()
        try:
            with anyio.fail_after(10):
                await client.chat("Hallo")
        finally:
            redis.resume()


async def test_each_process_has_its_share_if_redis_is_unavailable_at_the_start(
    redis: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    endpoint = FakeEndpoint()
    account = redis.account(requests_per_minute=6000, processes=4)
    async with make_client(account, endpoint) as client:
        begun = anyio.current_time()
        async with client.map(["Hallo"] * 11) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[-1] - begun >= 10 / 25 - 0.01  # a quarter of 100 per second, no burst
    assert "with 1/4 of the limits" in caplog.text


async def test_each_process_may_spend_its_share_of_the_rest_without_redis(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(9), processes=4)
    async with make_client(account, None, Cost(prices=PRICES)) as client:
        await client.chat("Hallo")
        redis.kill()
        await client.chat("Hallo")
        await client.chat("Hallo")
        with pytest.raises(BudgetExceeded, match="its share of the rest"):
            await client.chat("Hallo")


async def test_the_link_ends_with_its_client_and_starts_with_the_next_one(redis: RedisProcess) -> None:
    policies = redis.account(requests_per_minute=6000).policies()
    (pace,) = policies
    assert isinstance(pace, SharedPace)
    link = pace._member.link
    for _ in range(3):
        async with FakeEndpoint().client(policies) as client:
            await client.chat("Hallo")
            assert link.running
        assert not link.running


def test_policies_can_be_used_in_one_event_loop_after_another(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    policies = [*redis.account(budget=Decimal(9)).policies(), Cost(prices=PRICES)]

    async def main() -> None:
        async with FakeEndpoint().client(policies) as client:
            assert (await client.chat("Hallo")).text == "ok"

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(main, backend=backend)
    assert b"3000000000" in redis.ask("HGET", "headrace:spent", "total")


async def test_the_cost_of_a_stream_is_reported_before_the_client_closes(redis: RedisProcess) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    client = make_client(redis.account(budget=Decimal(9)), None, Cost(prices=PRICES))
    async with client, client.stream("Hallo") as stream:
        async for _ in stream:
            pass
    assert b"1000000000" in redis.ask("HGET", "headrace:spent", "total")


async def wrong_password(redis: RedisProcess) -> Account:
    redis.ask("CONFIG", "SET", "requirepass", "right")
    return redis.account(url=redis.url.replace("redis://", "redis://:wrong-secret@"))


async def no_password(redis: RedisProcess) -> Account:
    redis.ask("CONFIG", "SET", "requirepass", "right")
    return redis.account()


async def nothing_listens(redis: RedisProcess) -> Account:
    redis.kill()
    return redis.account()


async def memory_full(redis: RedisProcess) -> Account:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    return redis.account()


async def too_late(redis: RedisProcess) -> Account:
    redis.stop()
    return redis.account(timeout=0.05)


Trouble = Callable[[RedisProcess], Awaitable[Account]]


@pytest.mark.parametrize("trouble", [wrong_password, no_password])
@pytest.mark.parametrize("processes", [None, 4])
async def test_a_rejected_login_is_an_error_at_the_start(
    redis: RedisProcess, trouble: Trouble, processes: int | None
) -> None:
    account = await trouble(redis)
    account.processes = processes
    with pytest.raises(SettingsError, match="rejects the login") as caught:
        async with make_client(account):
            pass
    assert "wrong-secret" not in str(caught.value)
    assert "ExceptionGroup" not in str(caught.value)


@pytest.mark.parametrize("trouble", [nothing_listens, memory_full, too_late])
async def test_an_unusable_server_is_an_error_at_the_start(redis: RedisProcess, trouble: Trouble) -> None:
    account = await trouble(redis)
    with pytest.raises(SettingsError, match=r"cannot be used \(.*set \[redis\] processes"):
        async with make_client(account):
            pass


@pytest.mark.parametrize("trouble", [nothing_listens, memory_full, too_late])
async def test_with_processes_set_each_has_its_share_without_the_server(
    redis: RedisProcess, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    account = await trouble(redis)
    account.processes = 4
    account.limits = {"fake-model": {"requests_per_minute": 6000}}
    endpoint = FakeEndpoint()
    async with make_client(account, endpoint) as client:
        begun = anyio.current_time()
        async with client.map(["Hallo"] * 11) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[-1] - begun >= 10 / 25 - 0.01  # a quarter of 100 per second, and no burst
    (message,) = [record.getMessage() for record in caplog.records if record.name == "headrace.redis"]
    assert "with 1/4 of the limits" in message
    assert "ExceptionGroup" not in message


async def test_calls_cancelled_at_random_release_everything(redis: RedisProcess) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with make_client(redis.account(requests_per_minute=60_000, burst=0.05), endpoint) as client:

        async def call_with_timeout(patience: float) -> None:
            with anyio.move_on_after(patience):
                await client.chat("Hallo")

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(call_with_timeout, number % 30 / 1000)
        with anyio.fail_after(10):
            await client.chat("Hallo")
        assert client.in_flight == 0


@pytest.mark.parametrize("key", ["input_tokens_per_minute", "output_tokens_per_minute"])
def test_limits_that_processes_cannot_share_are_rejected(key: str) -> None:
    for wrong in ({key: 5}, {"limits": {"m": {key: 5}}}):
        with pytest.raises(SettingsError, match=f"{key}: not supported here; processes share requests"):
            Account(**wrong)
