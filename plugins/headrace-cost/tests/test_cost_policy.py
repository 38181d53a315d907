"""The cost policy in a client, on trio and asyncio."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import headrace
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace_cost import Cost

# A fake answer has 10 prompt and 5 completion tokens, at 1 and 2 USD per million tokens.
PRICES = {"fake-model": {"input": "1", "output": "2"}}
USD = Decimal("0.00002")
CHOICES = [{"message": {"content": "ok"}, "finish_reason": "stop"}]
NO_USAGE = {"choices": CHOICES}


@pytest.mark.anyio
async def test_policy_contract() -> None:
    await check_policy_contract(lambda: Cost(prices=PRICES))
    await check_policy_contract(lambda: Cost(prices=PRICES, budget=Decimal(1000)))


@pytest.mark.anyio
async def test_reply_has_its_cost() -> None:
    cost = Cost()
    async with FakeEndpoint().client([cost], model="gpt-4.1") as client:
        reply = await client.chat("Hallo")
    assert isinstance(reply.cost, Decimal)
    assert reply.cost == Decimal("0.00006")
    assert cost.totals.cost == reply.cost


@pytest.mark.anyio
async def test_cached_tokens_have_their_own_price() -> None:
    endpoint = FakeEndpoint(Answer(prompt_tokens=1000, completion_tokens=0, cached_tokens=600))
    async with endpoint.client([Cost()], model="gpt-4.1") as client:
        assert (await client.chat("Hallo")).cost == Decimal("0.0011")


@pytest.mark.anyio
async def test_unknown_price_is_a_cost_of_none_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    cost = Cost()
    async with FakeEndpoint().client([cost]) as client:
        with caplog.at_level(logging.WARNING, "headrace"):
            replies = [await client.chat("Hallo") for _ in range(3)]
            await client.chat("Hallo", model="another")
    assert [reply.cost for reply in replies] == [None, None, None]
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "'fake-model' is unknown" in warnings[0]
    assert "'another' is unknown" in warnings[1]
    assert (cost.totals.calls, cost.totals.unpriced, cost.totals.cost) == (4, 4, Decimal(0))
    assert cost.totals.by_model["fake-model"].unpriced == 3


@pytest.mark.anyio
async def test_reply_without_usage_has_an_unknown_cost(caplog: pytest.LogCaptureFixture) -> None:
    cost = Cost(prices=PRICES)
    async with FakeEndpoint(Answer(body=NO_USAGE)).client([cost]) as client:
        assert (await client.chat("Hallo")).cost is None
    assert "no usage is reported" in caplog.text


@pytest.mark.anyio
async def test_price_is_that_of_the_request_model_then_of_the_reply_model() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    endpoint = FakeEndpoint(otherwise=Answer(body={"model": "gpt-4.1", "choices": CHOICES, "usage": usage}))
    cost = Cost(prices=PRICES)
    async with endpoint.client([cost]) as client:
        assert (await client.chat("Hallo")).cost == 1
        assert (await client.chat("Hallo", model="my-deployment")).cost == 2
    assert set(cost.totals.by_model) == {"fake-model", "my-deployment"}


@pytest.mark.anyio
async def test_totals_by_model_and_tag() -> None:
    cost = Cost(prices=PRICES)
    endpoint = FakeEndpoint("ok", "ok", 500, "ok")
    async with endpoint.client([cost]) as client:
        await client.chat("Hallo", tags={"team": "a", "job": "x"})
        await client.chat("Hallo", tags={"team": "b"}, model="gpt-4.1")
        with pytest.raises(headrace.ServerError):
            await client.chat("Hallo", tags={"team": "b"})
        await client.chat("Hallo", tags={"team": "a"})
    totals = cost.totals
    assert (totals.calls, totals.prompt_tokens, totals.completion_tokens) == (3, 30, 15)
    assert totals.cost == 2 * USD + Decimal("0.00006")
    assert {model: tally.calls for model, tally in totals.by_model.items()} == {"fake-model": 2, "gpt-4.1": 1}
    assert {tag: tally.cost for tag, tally in totals.by_tag.items()} == {
        "team=a": 2 * USD,
        "job=x": USD,
        "team=b": Decimal("0.00006"),
    }


@pytest.mark.anyio
async def test_totals_are_exact_under_1000_concurrent_calls() -> None:
    # An await between the read and the write of a sum would lose what other calls add in between. Without
    # one, no lock is needed on trio or asyncio.
    cost = Cost(prices=PRICES)
    sent, all_sent = 0, anyio.Event()

    class WaitingEndpoint(FakeEndpoint):
        """Answers no call before all calls are sent."""

        async def handle(self, call: headrace.Call) -> headrace.Reply:
            nonlocal sent
            sent += 1
            if sent == 1000:
                all_sent.set()
            await all_sent.wait()
            return await super().handle(call)

    endpoint = WaitingEndpoint()
    requests = [
        headrace.Request({"messages": [], "model": "fake-model"}, tags={"parity": str(number % 2)})
        for number in range(1000)
    ]
    async with endpoint.client([cost], max_in_flight=1000) as client, client.map(requests) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    totals = cost.totals
    assert (totals.calls, totals.prompt_tokens, totals.completion_tokens) == (1000, 10_000, 5_000)
    assert totals.cost == totals.by_model["fake-model"].cost == 1000 * USD
    assert [totals.by_tag[f"parity={parity}"].cost for parity in (0, 1)] == [500 * USD, 500 * USD]


@pytest.mark.anyio
async def test_cached_answer_costs_nothing() -> None:
    class Cache:
        name = "cache"
        stage = headrace.Stage.ANSWER

        def __init__(self) -> None:
            self.reply: headrace.Reply | None = None

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def answer(call: headrace.Call) -> headrace.Reply:
                self.reply = self.reply or await send(call)
                return self.reply

            return answer

    cost = Cost(prices=PRICES)
    async with FakeEndpoint().client([cost, Cache()]) as client:
        for _ in range(3):
            await client.chat("Hallo")
    assert (cost.totals.calls, cost.totals.cost, cost.totals.prompt_tokens) == (3, USD, 10)


@pytest.mark.anyio
async def test_calls_without_a_model_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    for cost in (Cost(), Cost(budget=Decimal(0))):
        endpoint = FakeEndpoint(Answer(body={"data": []}))
        async with endpoint.client([cost]) as client:
            assert (await client.request("GET", "/models")).cost is None
        assert cost.totals.calls == 0
    assert caplog.text == ""


# Budget tests: "Hallo" with max_tokens=5 has a body of about 90 bytes, so it may cost about 0.0001 USD.


@pytest.mark.anyio
async def test_budget_refuses_calls_before_it_is_overdrawn() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.001"))
    endpoint = FakeEndpoint()
    async with endpoint.client([cost]) as client:
        for _ in range(1000):
            try:
                await client.chat("Hallo", max_tokens=5)
            except headrace.BudgetExceeded as error:
                refusal = error
                break
    assert Decimal("0.00085") < cost.totals.cost <= Decimal("0.001")
    assert len(endpoint.attempts) == cost.totals.calls
    assert refusal.attempts == 0
    assert "of the budget of 0.001 USD" in str(refusal)
    assert f"but {cost.totals.cost.normalize():f} of the budget" in str(refusal)


@pytest.mark.anyio
async def test_budget_is_not_overdrawn_by_concurrent_calls() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.001"))
    # Each answer is as long as its request allows.
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001, completion_tokens=50))
    requests = [{"messages": [], "max_tokens": 50}] * 200
    async with endpoint.client([cost]) as client, client.map(requests, max_in_flight=200) as outcomes:
        seen = [outcome async for outcome in outcomes]
    done = [outcome for outcome in seen if outcome.ok]
    assert cost.totals.cost == len(done) * Decimal("0.00011") <= Decimal("0.001")
    # Amounts released by calls in flight went to waiting calls.
    assert len(done) == 8
    assert all(isinstance(outcome.error, headrace.BudgetExceeded) for outcome in seen if not outcome.ok)


@pytest.mark.anyio
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
async def test_worst_case_counts_every_choice(limit: str) -> None:
    cost = Cost(prices={"fake-model": {"input": "0", "output": "2"}}, budget=Decimal("0.001"))
    async with FakeEndpoint().client([cost]) as client:
        await client.chat("Hallo", extra_body={"n": 5, limit: 99})
        with pytest.raises(headrace.BudgetExceeded, match=r"may cost 0\.0012 USD"):
            await client.chat("Hallo", extra_body={"n": 6, limit: 100})


@pytest.mark.anyio
async def test_request_without_an_output_limit_reserves_the_longest_answer() -> None:
    prices = {"fake-model": {"input": "0", "output": "1000000"}}
    cost = Cost(prices=prices, budget=Decimal(100), assumed_output_tokens=10)
    endpoint = FakeEndpoint(Answer(completion_tokens=30))
    async with endpoint.client([cost]) as client:
        await client.chat("Hallo")
        endpoint.then(Answer(completion_tokens=50))
        await client.chat("Hallo")
        with pytest.raises(headrace.BudgetExceeded, match="may cost 50 USD"):
            await client.chat("Hallo")
        await client.chat("Hallo", max_tokens=20)


@pytest.mark.anyio
async def test_refused_calls_release_their_reservation() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.00015"))
    endpoint = FakeEndpoint(500, 429, 400, "ok")
    async with endpoint.client([cost]) as client:
        for _ in range(3):
            with pytest.raises(headrace.StatusError):
                await client.chat("Hallo", max_tokens=5)
        assert (await client.chat("Hallo", max_tokens=5)).cost == USD


@pytest.mark.anyio
async def test_unknown_cost_counts_as_its_worst_case() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.0003"))
    async with FakeEndpoint(Answer(body=NO_USAGE)).client([cost]) as client:
        await client.chat("Hallo", max_tokens=100)
        with pytest.raises(headrace.BudgetExceeded):
            await client.chat("Hallo", max_tokens=100)


@pytest.mark.anyio
async def test_budget_refuses_calls_of_unknown_price() -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client([Cost(budget=Decimal(5))]) as client:
        with pytest.raises(headrace.BudgetExceeded, match=r"'fake-model' has no price.*\[cost\.prices"):
            await client.chat("Hallo")
    assert endpoint.attempts == []


@pytest.mark.trio
async def test_deadline_ends_the_wait_for_a_reservation(autojump_clock: trio.testing.MockClock) -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.00015"))
    endpoint = FakeEndpoint(Answer(delay=50))
    async with endpoint.client([cost]) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.chat("Hallo", max_tokens=5))
        await trio.sleep(1)
        with pytest.raises(headrace.DeadlineExceeded):
            await client.chat("Hallo", max_tokens=5, deadline=10)
        assert trio.current_time() == 11
    assert len(endpoint.attempts) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": "much"},
        {"budget": -1},
        {"budget": "nan"},
        {"budget": "1e999999999"},
        {"assumed_output_tokens": -1},
    ],
)
def test_out_of_range_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(headrace.SettingsError, match=next(iter(wrong))):
        Cost(**wrong)


async def cost_of(client: headrace.Client) -> tuple[Cost, headrace.Reply]:
    (policy,) = (policy for policy in client.policies if isinstance(policy, Cost))
    async with client:
        return policy, await client.chat("Hallo")


@pytest.mark.anyio
async def test_settings_from_file_environment_and_keyword(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "headrace.toml").write_text("[cost.prices.fake-model]\ninput = 1.0\noutput = '2'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_COST_BUDGET", "2.50")
    policy, reply = await cost_of(FakeEndpoint().client(None, cost={"assumed_output_tokens": 100}))
    assert (policy.budget, policy.assumed_output_tokens) == (Decimal("2.50"), 100)
    assert reply.cost == USD


def test_unknown_setting_is_an_error() -> None:
    with pytest.raises(headrace.SettingsError, match="did you mean 'budget'"):
        FakeEndpoint().client(None, cost={"budgett": 5})
