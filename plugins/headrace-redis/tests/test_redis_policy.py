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
from headrace import BudgetExceeded, CircuitOpen, Client, Event, RateLimited, SettingsError
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_redis import Account, headrace_policies
from headrace_redis.lane import KEPT
from headrace_redis.pace import SharedPace
from redis_server import RedisServer, started

pytestmark = pytest.mark.anyio

PRICES = {"fake-model": {"input": "100000", "output": "0"}}  # 10 prompt tokens: 1 USD


class Seen:
    """An observer of one kind of event."""

    name = "seen"

    def __init__(self, event: str) -> None:
        self._event = event
        self.data: list[Any] = []

    def notify(self, event: Event) -> None:
        if event.name == self._event:
            self.data.append(event.data)


def a_client(account: Account, endpoint: FakeEndpoint | None = None, *more: Any, **keywords: Any) -> Client:
    return (endpoint or FakeEndpoint()).client([*account.policies(), *more], **keywords)


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not done():  # noqa: ASYNC110 - of what happens elsewhere there is no event
            await anyio.sleep(0.005)


async def keep_the_contract(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    # With calls booked ahead.
    monkeypatch.setattr("headrace_redis.lane.KEPT", 60.0)
    await check_policy_contract(lambda: account.policies()[0])
    await check_policy_contract(lambda: account.policies()[1])


async def test_the_contract(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep_the_contract(redis.account(requests_per_minute=600_000, budget=5), monkeypatch)


async def test_the_contract_over_valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started("valkey-server", tmp_path)
    try:
        await keep_the_contract(server.account(requests_per_minute=600_000, budget=5), monkeypatch)
    finally:
        server.kill()


def test_without_a_url_there_are_no_policies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = headrace.settings.load_settings({})
    assert list(headrace_policies(settings)) == []


def test_with_one_they_are_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    ("settings", "said"),
    [
        ({"requests_per_minute": 0}, "above 0"),
        ({"limits": {"m": 5}}, "must be a table"),
        ({"limits": {"m": {"requests_per_minut": 5}}}, "did you mean 'requests_per_minute'"),
        ({"budget": "much"}, "amount in USD"),
        ({"burst": float("inf")}, "above 0"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Account(**settings)


def test_of_each_limit_the_nearest_counts() -> None:
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


async def test_clients_share_one_limit(redis: RedisServer) -> None:
    endpoint, account = FakeEndpoint(), redis.account(requests_per_minute=6000, burst=0.2)
    async with (
        a_client(account, endpoint) as one,
        a_client(account, endpoint) as other,
        anyio.create_task_group() as group,
    ):
        for client in (one, other):
            for _ in range(30):
                group.start_soon(client.chat, "Hallo")
    times = sorted(endpoint.times)
    assert len(times) == 60
    assert times[-1] - times[0] >= (60 - 20 - 1) / 100  # a burst of 20, then 100 a second


async def test_tokens_are_settled_by_what_was_used(redis: RedisServer) -> None:
    # 10,000 tokens reckoned with a call, 15 used: what is left over comes back with the next exchange.
    account = redis.account(tokens_per_minute=600_000, burst=1.5)
    async with a_client(account) as client:
        with anyio.fail_after(20):
            for _ in range(50):
                await client.chat("Hallo", max_tokens=10_000)


async def test_a_cancelled_call_leaves_its_turn_to_others(redis: RedisServer) -> None:
    account = redis.account(requests_per_minute=60, burst=1)
    async with a_client(account) as client:
        await client.chat("Hallo")
        for _ in range(5):
            with anyio.move_on_after(0.02):
                await client.chat("Hallo")
        with anyio.fail_after(10):  # six seconds and more, if each had taken its turn along
            begun = anyio.current_time()
            await client.chat("Hallo")
            assert anyio.current_time() - begun < 5


DAYS = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200, Used 200"}}


async def test_a_429_of_chance_pauses_nobody(redis: RedisServer) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "60"}))
    pauses = Seen("pause")
    async with a_client(redis.account(), refusing, observers=[pauses]) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        with anyio.fail_after(10):
            await client.chat("Hallo")
    assert pauses.data == []


async def test_where_refusals_dominate_all_pause(redis: RedisServer) -> None:
    refusing = FakeEndpoint(*[Answer(status=429, headers={"retry-after": "60"})] * DOMINANT)
    pauses = Seen("pause")
    async with a_client(redis.account(), refusing, observers=[pauses]) as client:
        for _ in range(DOMINANT):
            with pytest.raises(RateLimited):
                await client.chat("Hallo")
    assert [pause["seconds"] for pause in pauses.data] == [60.0]


async def test_a_429_that_says_that_a_days_worth_is_used_up_pauses_all(redis: RedisServer) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after-ms": "600"}, body=DAYS))
    pauses, answering = Seen("pause"), FakeEndpoint()
    account = redis.account()
    async with (
        a_client(account, refusing, observers=[pauses]) as one,
        a_client(account, answering) as other,
    ):
        with pytest.raises(RateLimited):
            await one.chat("Hallo")
        refused = refusing.times[0]
        await until(lambda: b"lane" in redis.ask("KEYS", "*lane*"))
        async with anyio.create_task_group() as group:
            group.start_soon(one.chat, "Hallo")
            group.start_soon(other.chat, "Hallo")
    assert min(refusing.times[1], answering.times[0]) - refused >= 0.59
    assert pauses.data == [{"endpoint": "fake.test", "model": "fake-model", "seconds": 0.6}]


async def test_a_long_pause_is_not_waited_for(redis: RedisServer) -> None:
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "3600"}, body=DAYS))
    async with a_client(redis.account(), refusing) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        with pytest.raises(CircuitOpen, match="come back in") as raised:
            await client.chat("Hallo")
    assert 3500 < raised.value.retry_after <= 3600


async def test_an_account_without_credit_pauses_nobody(redis: RedisServer) -> None:
    body = {"error": {"message": "no credit", "code": "insufficient_quota"}}
    refusing = FakeEndpoint(Answer(status=429, headers={"retry-after": "3600"}, body=body))
    async with a_client(redis.account(), refusing) as client:
        with pytest.raises(RateLimited):
            await client.chat("Hallo")
        assert (await client.chat("Hallo")).text == "ok"


async def test_a_circuit_that_one_has_found_open_is_open_for_the_others(redis: RedisServer) -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    failing, answering, account = FakeEndpoint(503), FakeEndpoint(), redis.account()
    breaker = Breaker(consecutive=1, open_for=0.5, probes=1)
    async with a_client(account, failing, breaker) as one, a_client(account, answering) as other:
        with pytest.raises(headrace.ServerError):
            await one.chat("Hallo")
        await until(lambda: b"circuit" in redis.ask("KEYS", "*circuit*"))
        with pytest.raises(CircuitOpen, match="another process") as raised:
            await other.chat("Hallo")
        assert 0 < raised.value.retry_after <= 2.5
        assert not answering.attempts
        await anyio.sleep(0.5)
        await one.chat("Hallo")  # the probe, which the shared circuit does not hold up
        await until(lambda: b"circuit" not in redis.ask("KEYS", "*circuit*"))
        assert (await other.chat("Hallo")).text == "ok"


async def test_a_budget_is_one_for_all(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(3))
    async with (
        a_client(account, None, Cost(prices=PRICES)) as one,
        a_client(account, None, Cost(prices=PRICES)) as other,
    ):
        for client in (one, other, one):
            await client.chat("Hallo")
        for client in (one, other):
            await anyio.sleep(2 * KEPT)  # what it knows of the others' spending is old by then
            with pytest.raises(BudgetExceeded, match="shared budget of 3 USD is spent"):
                await client.chat("Hallo")
    assert b"3000000000" in redis.ask("HGET", "headrace:spent", "total")


async def test_a_stream_is_counted_at_its_end(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(3))
    async with a_client(account, None, Cost(prices=PRICES)) as client:
        async with client.stream("Hallo") as stream:
            async for _ in stream:
                pass
        await until(lambda: b"1000000000" in redis.ask("HGET", "headrace:spent", "total"))


async def test_what_is_spent_outlives_a_server_that_forgets(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    async with a_client(redis.account(budget=Decimal(9)), None, Cost(prices=PRICES)) as client:
        await client.chat("Hallo")
        redis.kill()
        await client.chat("Hallo")
        redis.start()
        await until(lambda: b"2000000000" in redis.ask("HGET", "headrace:spent", "total"))


async def test_redis_is_killed_and_comes_back(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.redis")
    events, account = Seen("redis"), redis.account(requests_per_minute=60_000)
    async with a_client(account, observers=[events]) as client:

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
    assert events.data == [{"state": "away"}, {"state": "back"}]
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["WARNING", "INFO"]
    assert f"Redis at 127.0.0.1:{redis.port} is away" in said[0][1]


async def test_a_server_that_forgets_gives_no_second_burst(redis: RedisServer) -> None:
    endpoint = FakeEndpoint()
    async with a_client(redis.account(requests_per_minute=600), endpoint) as client:
        for _ in range(10):  # the burst: a second's worth
            await client.chat("Hallo")
        redis.ask("FLUSHALL")
        forgotten = anyio.current_time()
        for _ in range(11):
            await client.chat("Hallo")
    # A second burst would let ten of these go at once. A slow machine only makes it longer.
    assert endpoint.times[-1] - forgotten >= 0.95


async def test_a_server_that_answers_nothing_holds_up_no_call_for_long(redis: RedisServer) -> None:
    async with a_client(redis.account(timeout=0.05)) as client:
        await client.chat("Hallo")
        await anyio.sleep(0.15)  # what is known is old by then
        redis.stop()
        try:
            with anyio.fail_after(10):
                await client.chat("Hallo")
        finally:
            redis.resume()


async def test_away_from_the_start_each_has_its_share(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    endpoint = FakeEndpoint()
    account = redis.account(requests_per_minute=6000, processes=4)
    async with a_client(account, endpoint) as client:
        begun = anyio.current_time()
        async with client.map(["Hallo"] * 11) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[-1] - begun >= 10 / 25 - 0.01  # 100 a second, a quarter of it, no burst
    assert "with 1/4 of the limits" in caplog.text


async def test_away_each_may_spend_its_share_of_the_rest(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    account = redis.account(budget=Decimal(9), processes=4)
    async with a_client(account, None, Cost(prices=PRICES)) as client:
        await client.chat("Hallo")
        redis.kill()
        await client.chat("Hallo")
        await client.chat("Hallo")
        with pytest.raises(BudgetExceeded, match="its share of the rest"):
            await client.chat("Hallo")


async def test_the_keeper_ends_with_its_client_and_begins_with_the_next_one(redis: RedisServer) -> None:
    policies = redis.account(requests_per_minute=6000).policies()
    (pace,) = policies
    assert isinstance(pace, SharedPace)
    keeper = pace._link.keeper
    for _ in range(3):
        async with FakeEndpoint().client(policies) as client:
            await client.chat("Hallo")
            assert keeper.running
        assert not keeper.running


def test_another_event_loop_of_the_other_kind_may_use_the_policies_next(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    policies = [*redis.account(budget=Decimal(9)).policies(), Cost(prices=PRICES)]

    async def main() -> None:
        async with FakeEndpoint().client(policies) as client:
            assert (await client.chat("Hallo")).text == "ok"

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(main, backend=backend)
    assert b"3000000000" in redis.ask("HGET", "headrace:spent", "total")


async def test_what_a_stream_did_cost_is_told_before_the_client_has_ended(redis: RedisServer) -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
    client = a_client(redis.account(budget=Decimal(9)), None, Cost(prices=PRICES))
    async with client, client.stream("Hallo") as stream:
        async for _ in stream:
            pass
    assert b"1000000000" in redis.ask("HGET", "headrace:spent", "total")


async def wrong_password(redis: RedisServer) -> Account:
    redis.ask("CONFIG", "SET", "requirepass", "right")
    return redis.account(url=redis.url.replace("redis://", "redis://:wrong-secret@"))


async def no_password(redis: RedisServer) -> Account:
    redis.ask("CONFIG", "SET", "requirepass", "right")
    return redis.account()


async def nothing_listens(redis: RedisServer) -> Account:
    redis.kill()
    return redis.account()


async def memory_full(redis: RedisServer) -> Account:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    return redis.account()


async def too_late(redis: RedisServer) -> Account:
    redis.stop()
    return redis.account(timeout=0.05)


Trouble = Callable[[RedisServer], Awaitable[Account]]


@pytest.mark.parametrize("trouble", [wrong_password, no_password])
@pytest.mark.parametrize("processes", [None, 4])
async def test_a_login_that_is_refused_is_found_at_the_start(
    redis: RedisServer, trouble: Trouble, processes: int | None
) -> None:
    account = await trouble(redis)
    account.processes = processes
    with pytest.raises(SettingsError, match="refuses the login") as caught:
        async with a_client(account):
            pass
    assert "wrong-secret" not in str(caught.value)
    assert "ExceptionGroup" not in str(caught.value)


@pytest.mark.parametrize("trouble", [nothing_listens, memory_full, too_late])
async def test_a_server_that_cannot_be_used_is_found_at_the_start(
    redis: RedisServer, trouble: Trouble
) -> None:
    account = await trouble(redis)
    with pytest.raises(SettingsError, match=r"cannot be used \(.*set \[redis\] processes"):
        async with a_client(account):
            pass


@pytest.mark.parametrize("trouble", [nothing_listens, memory_full, too_late])
async def test_with_processes_each_has_its_share_of_the_limit_without_the_server(
    redis: RedisServer, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    account = await trouble(redis)
    account.processes = 4
    account.limits = {"fake-model": {"requests_per_minute": 6000}}
    endpoint = FakeEndpoint()
    async with a_client(account, endpoint) as client:
        begun = anyio.current_time()
        async with client.map(["Hallo"] * 11) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[-1] - begun >= 10 / 25 - 0.01  # 100 a second, a quarter of it, and no burst
    (said,) = [record.getMessage() for record in caplog.records if record.name == "headrace.redis"]
    assert "with 1/4 of the limits" in said
    assert "ExceptionGroup" not in said


async def test_calls_cancelled_at_any_moment_leave_all_sound(redis: RedisServer) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with a_client(redis.account(requests_per_minute=60_000, burst=0.05), endpoint) as client:

        async def hasty(patience: float) -> None:
            with anyio.move_on_after(patience):
                await client.chat("Hallo")

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(hasty, number % 30 / 1000)
        with anyio.fail_after(10):
            await client.chat("Hallo")
        assert client.in_flight == 0


@pytest.mark.parametrize("key", ["input_tokens_per_minute", "output_tokens_per_minute"])
def test_limits_that_processes_cannot_share_are_refused(key: str) -> None:
    for wrong in ({key: 5}, {"limits": {"m": {key: 5}}}):
        with pytest.raises(SettingsError, match=f"{key}: not supported here; processes share requests"):
            Account(**wrong)
