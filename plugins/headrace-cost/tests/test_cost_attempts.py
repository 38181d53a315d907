"""All attempts are charged and covered by the budget: repaired, retried, hedged and broken ones."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

import headrace
from headrace import (
    AnswerError,
    CallTimeout,
    ConnectError,
    Headers,
    IncompleteReply,
    InvalidReply,
    ReplyTooLarge,
)
from headrace.testing import Answer, FakeEndpoint
from headrace_cost import Cost
from headrace_cost.charges import may_be_billed

PRICES = {"fake-model": {"input": "1", "output": "2"}}
USD = Decimal("0.00002")
"""The cost of a fake answer at these prices: 10 prompt and 5 completion tokens."""


def timed_out(phase: str = "total") -> CallTimeout:
    return CallTimeout("too late", phase)


def lost_connection(sent: bool) -> ConnectError:
    error = ConnectError("lost")
    error.sent = sent
    return error


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (timed_out("connect"), False),
        (timed_out("write"), False),
        (timed_out("read"), True),
        (timed_out("total"), True),
        (timed_out("stall"), True),
        (lost_connection(sent=False), False),
        (lost_connection(sent=True), True),
        (headrace.TLSError("bad certificate"), False),
        (IncompleteReply("cut"), True),
        (InvalidReply("no JSON"), True),
        (ReplyTooLarge("large"), True),
        (AnswerError("no"), True),
        (headrace.StatusError("bad", 400), False),
        (headrace.RateLimited("slow down", 429), False),
        (headrace.ServerError("broken", 500), False),
        (headrace.ServerError("overloaded", 503), False),
        (headrace.ServerError("gateway timeout", 504), True),
        (headrace.StatusError("timeout", 408), True),
        (headrace.CircuitOpen("open"), False),
        (headrace.PolicyError("bug"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_which_failures_may_be_billed(error: BaseException, billed: bool) -> None:
    assert may_be_billed(error) is billed


@pytest.mark.anyio
async def test_repaired_answers_cost_all_attempts() -> None:
    Repair = pytest.importorskip("headrace_repair").Repair
    cost = Cost(prices=PRICES)
    endpoint = FakeEndpoint(Answer("no JSON", prompt_tokens=20), '{"answer": 7}')
    async with endpoint.client([cost, Repair()]) as client:
        reply = await client.chat("?", answer=int)
    assert reply.answer == 7
    assert reply.cost == Decimal("0.00003") + USD
    assert reply.possible_cost is None
    assert (cost.totals.calls, cost.totals.prompt_tokens, cost.totals.cost) == (1, 30, reply.cost)


@pytest.mark.anyio
async def test_answer_error_has_the_cost_of_all_attempts() -> None:
    Repair = pytest.importorskip("headrace_repair").Repair
    cost = Cost(prices=PRICES)
    async with FakeEndpoint("no", "no").client([cost, Repair()]) as client:
        with pytest.raises(AnswerError) as caught:
            await client.chat("?", answer=int)
    assert caught.value.cost == 2 * USD
    assert caught.value.partial is not None
    assert caught.value.partial.cost == 2 * USD
    assert (cost.totals.calls, cost.totals.cost) == (1, 2 * USD)


@pytest.mark.anyio
async def test_timed_out_attempt_is_a_possible_cost() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    cost = Cost(prices=PRICES)
    async with FakeEndpoint(timed_out(), "ok").client([cost, Retry(base=0)]) as client:
        reply = await client.chat("?", max_tokens=50)
    assert reply.cost == USD
    worst = reply.possible_cost
    assert worst is not None
    assert Decimal("0.0001") < worst < Decimal("0.0002")  # 50 output tokens, and one input token per byte
    totals = cost.totals
    assert (totals.calls, totals.cost, totals.uncertain, totals.possible_cost) == (1, USD, 1, worst)


@pytest.mark.anyio
async def test_error_has_the_possible_cost_of_its_attempts() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    cost = Cost(prices=PRICES)
    async with FakeEndpoint(timed_out(), timed_out()).client([cost, Retry(attempts=2, base=0)]) as client:
        with pytest.raises(CallTimeout) as caught:
            await client.chat("?", max_tokens=50)
    assert caught.value.cost is None
    assert caught.value.possible_cost is not None
    assert caught.value.possible_cost > Decimal("0.0002")
    assert cost.totals.possible_cost == caught.value.possible_cost
    assert cost.totals.unpriced == 1


@pytest.mark.anyio
async def test_cancelled_attempt_may_be_billed_once_it_was_sent() -> None:
    class SlowPolicy:
        name = "slow"
        stage = headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def hold(call: headrace.Call) -> headrace.Reply:
                await anyio.sleep(3600)
                return await send(call)

            return hold

    for policies, uncertain in (([], 1), ([SlowPolicy()], 0)):
        cost = Cost(prices=PRICES)
        async with FakeEndpoint(Answer(delay=3600)).client([cost, *policies]) as client:
            with anyio.move_on_after(0.01):
                await client.chat("?")
        assert cost.totals.uncertain == uncertain


@pytest.mark.anyio
async def test_reply_without_usage_has_a_possible_cost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cost = Cost(prices=PRICES)
    body = {"choices": [{"message": {"content": "ok"}}]}
    async with FakeEndpoint(Answer(body=body)).client([cost]) as client:
        reply = await client.chat("Hallo", max_tokens=100)
    assert reply.cost is None
    assert reply.possible_cost is not None
    assert reply.possible_cost > Decimal("0.0002")
    assert "no usage is reported" in caplog.text


CHUNK = {"id": "c", "model": "fake-model", "choices": [{"index": 0, "delta": {"content": "one"}}]}


@pytest.mark.anyio
async def test_broken_stream_may_be_billed_completely() -> None:
    cost = Cost(prices=PRICES, budget=1)
    torn = Answer(body=b"data: %b\n\n" % msgspec.json.encode(CHUNK))
    async with FakeEndpoint(torn, "one two").client([cost]) as client:
        async with client.stream("?", max_tokens=50) as stream:
            with pytest.raises(IncompleteReply):
                async for _ in stream:
                    pass
        assert cost.totals.uncertain == 1
        assert cost.spent == cost.totals.possible_cost > Decimal("0.0001")
        async with client.stream("?", max_tokens=50) as stream:
            async for _ in stream:
                pass
        assert stream.reply.cost == USD
    assert cost.spent == cost.totals.possible_cost + USD


@pytest.mark.anyio
async def test_cached_answer_takes_nothing_from_the_budget() -> None:
    class Cache:
        name = "cache"
        stage = headrace.Stage.ANSWER

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def answer(call: headrace.Call) -> headrace.Reply:
                return headrace.Reply(200, Headers([]), b"{}")

            return answer

    cost = Cost(prices=PRICES, budget=0)
    async with FakeEndpoint().client([cost, Cache()]) as client:
        assert (await client.chat("Hallo")).cost == 0
    assert cost.totals.calls == 1


# The budget is never overdrawn by more than one attempt's worst case, whichever policy sends the attempts.

WORST_CASE = Decimal("0.000102")
"""About the worst case of an attempt below: 90 bytes, and 5 output tokens."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("others", "answer", "steps"),
    [
        ({"repair": {"attempts": 5}}, int, "no"),
        ({"retry": {"attempts": 9, "base": 0}}, None, "timeout"),
        ({"hedge": {"after": 0.001, "share": 1.0, "most": 3}}, None, "no"),
        ({"repair": {}, "retry": {"base": 0}, "hedge": {"after": 0.001, "share": 1.0}}, int, "mixed"),
    ],
    ids=["repairs", "timeouts", "hedges", "all"],
)
async def test_retries_repairs_and_hedges_never_overdraw_the_budget(
    others: dict[str, dict[str, Any]], answer: Any, steps: str
) -> None:
    policies = [
        getattr(pytest.importorskip(f"headrace_{name}"), name.capitalize())(**settings)
        for name, settings in others.items()
    ]
    limit = Decimal("0.0015")
    # Each answer is as long as its request allows.
    billed = Answer("no", completion_tokens=5, prompt_tokens=70, delay=0.01)
    sent: dict[str, list[Any]] = {
        "no": [billed],
        "timeout": [timed_out()],
        "mixed": [billed, timed_out(), billed],
    }
    endpoint = FakeEndpoint(*(sent[steps] * 500))
    cost = Cost(prices=PRICES, budget=limit)
    calls = [{"messages": [{"role": "user", "content": "?"}], "max_tokens": 5}] * 60
    async with (
        endpoint.client([*policies, cost]) as client,
        client.map(calls, answer=answer, max_in_flight=20) as outcomes,
    ):
        seen = [outcome async for outcome in outcomes]
    assert any(isinstance(outcome.error, headrace.BudgetExceeded) for outcome in seen)
    billed_at_most = len(endpoint.attempts) * Decimal("0.00008")
    assert billed_at_most <= limit + WORST_CASE
    assert limit / 2 < cost.spent <= limit
    assert cost.spent == cost.totals.cost + cost.totals.possible_cost


@pytest.mark.anyio
async def test_refused_repair_raises_the_answer_error_with_its_cost() -> None:
    Repair = pytest.importorskip("headrace_repair").Repair
    cost = Cost(prices=PRICES, budget=Decimal("0.0005"))
    answer = Answer("no", completion_tokens=40)
    async with FakeEndpoint(answer).client([cost, Repair()]) as client:
        with pytest.raises(AnswerError, match="not tried again: not sent: this call may cost") as caught:
            await client.chat("?", answer=bool, max_tokens=40)
    assert caught.value.cost == Decimal("0.00009")
    assert not caught.value.ends_run


@pytest.mark.anyio
async def test_invalid_token_counts_do_not_enlarge_a_budget() -> None:
    for tokens in (-(10**9), 10**25):
        body = {
            "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": tokens},
        }
        cost = Cost(prices=PRICES, budget=Decimal("0.0003"))
        async with (
            FakeEndpoint(otherwise=Answer(body=body)).client([cost]) as client,
            client.map([{"messages": [], "max_tokens": 100}] * 10) as outcomes,
        ):
            errors = [outcome.error async for outcome in outcomes if outcome.error is not None]
        assert errors
        assert all(isinstance(error, headrace.BudgetExceeded) for error in errors)
        assert cost.spent > 0


@pytest.mark.anyio
async def test_budget_error_names_the_assumed_output() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.001"))
    async with FakeEndpoint().client([cost]) as client:
        with pytest.raises(
            headrace.BudgetExceeded,
            match=r"may cost 0\.00\d+ USD because no max_tokens is set \(4,096 output tokens are assumed\), "
            r"but 0 of the budget of 0\.001 USD are spent",
        ):
            await client.chat("Hallo")
        with pytest.raises(headrace.BudgetExceeded) as caught:
            await client.chat("Hallo", max_tokens=1000)
    assert "because" not in str(caught.value)


@pytest.mark.anyio
async def test_spending_of_earlier_sessions_counts() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.001"))
    cost.resume(Decimal("0.00085"))
    async with FakeEndpoint().client([cost]) as client:
        await client.chat("Hallo", max_tokens=5)
        with pytest.raises(headrace.BudgetExceeded, match=r"0\.00087 of the budget of 0\.001 USD are spent"):
            await client.chat("Hallo", max_tokens=50)


@pytest.mark.anyio
async def test_clients_of_one_policy_share_its_budget() -> None:
    cost = Cost(prices=PRICES, budget=Decimal("0.00011"))
    for _ in range(2):
        async with FakeEndpoint().client([cost]) as client:
            await client.chat("Hallo", max_tokens=1)
    async with FakeEndpoint().client([cost]) as client:
        with pytest.raises(headrace.BudgetExceeded):
            await client.chat("Hallo", max_tokens=5)


# A budget that cannot be enforced is rejected when the client is made.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"policies": ("retry",), "cost": {"budget": 1}}, r"'cost' is not among policies=\['retry'\]"),
        (
            {"cost": {"budget": 1}, "model": "unknown-model"},
            "model 'unknown-model' has no price at fake.test",
        ),
    ],
)
def test_budget_that_cannot_be_enforced_is_rejected(
    settings: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "policies" in settings:
        monkeypatch.setenv("HEADRACE_POLICIES", ",".join(settings.pop("policies")))
    with pytest.raises(headrace.SettingsError, match=expected):
        FakeEndpoint().client(None, **settings)


def test_budget_that_can_be_enforced_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEndpoint().client(None, cost={"budget": 1}, model="gpt-4.1")
    monkeypatch.setenv("HEADRACE_POLICIES", "cost")
    FakeEndpoint().client(None, cost={"budget": 1}, model="gpt-4.1")


@pytest.mark.anyio
async def test_further_models_and_tags_share_one_tally(caplog: pytest.LogCaptureFixture) -> None:
    cost = Cost()
    requests = [
        headrace.Request({"messages": [], "model": f"m{number}"}, tags={"user": str(number)})
        for number in range(1500)
    ]
    with caplog.at_level(logging.WARNING, "headrace"):
        async with FakeEndpoint().client([cost]) as client, client.map(requests) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    totals = cost.totals
    assert (len(totals.by_model), len(totals.by_tag)) == (1001, 1001)
    assert totals.by_model["(others)"].calls == totals.by_tag["(others)"].calls == 500
    assert totals.calls == 1500
    assert len(caplog.records) == 1000


@pytest.mark.anyio
async def test_embeddings_reserve_no_output_tokens() -> None:
    prices = {"fake-model": {"input": "1", "output": "1000"}}
    endpoint = FakeEndpoint()
    async with endpoint.client([Cost(prices=prices, budget=Decimal("0.0001"))]) as client:
        assert (await client.embed(["a"])).attempts == 1
        with pytest.raises(
            headrace.BudgetExceeded, match=r"may cost 0\.001\d+ USD, but .* \(raise the budget\)"
        ):
            await client.embed(["a" * 1000])
    assert len(endpoint.attempts) == 1
