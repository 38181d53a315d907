"""The repair policy in a client, on both loops."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace_cost import Cost
from headrace_repair import Repair
from headrace_retry import Retry

pytestmark = pytest.mark.anyio


@attrs.define
class Person:
    name: str
    age: int


VALID = '{"name": "Ada", "age": 36}'
INVALID = '{"name": "Ada", "age": "thirty-six"}'


@attrs.define
class Ear:
    """An observer that remembers."""

    name: str = "ear"
    events: list[headrace.Event] = attrs.field(factory=list)

    def notify(self, event: headrace.Event) -> None:
        self.events.append(event)


async def test_the_contract_of_policies() -> None:
    await check_policy_contract(Repair)


async def test_an_invalid_answer_is_asked_for_again_with_the_error_shown() -> None:
    endpoint, ear = FakeEndpoint(INVALID, VALID), Ear()
    async with endpoint.client([Repair()], observers=[ear]) as client:
        reply = await client.chat("Who?", answer=Person)
    assert reply.answer == Person("Ada", 36)
    assert (reply.attempts, reply.usage) == (2, headrace.Usage(20, 10, 30, 0))
    first, second = (request.body for request in endpoint.attempts)
    assert first is not None
    assert second is not None
    assert second["response_format"] == first["response_format"]
    assert second["messages"][:2] == [*first["messages"], {"role": "assistant", "content": INVALID}]
    assert "Expected `int`, got `str` - at `$.age`" in second["messages"][2]["content"]
    assert [(event.name, event.data["attempt"]) for event in ear.events] == [("repair", 1)]


async def test_after_so_many_attempts_the_last_error_is_raised_and_all_is_paid() -> None:
    cost = Cost(prices={"fake-model": {"input": 1, "output": 1}})
    endpoint = FakeEndpoint(otherwise=INVALID)
    async with endpoint.client([Repair(attempts=3), cost]) as client:
        with pytest.raises(headrace.AnswerError, match=r"is not Person: Expected `int`") as caught:
            await client.chat("Who?", answer=Person)
    assert (len(endpoint.attempts), caught.value.attempts) == (3, 3)
    assert cost.totals.cost == Decimal("0.000045")


@pytest.mark.parametrize(
    "message",
    [
        {"message": {"content": '{"name": "Ad'}, "finish_reason": "length"},
        {"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"},
    ],
)
async def test_what_asking_again_does_not_mend_is_raised_at_once(message: dict[str, Any]) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body={"choices": [message]}))
    async with endpoint.client([Repair(attempts=3)]) as client:
        with pytest.raises(headrace.AnswerError, match=r"cut off|refuses: I cannot"):
            await client.chat("Who?", answer=Person)
    assert len(endpoint.attempts) == 1


async def test_each_try_may_be_retried() -> None:
    endpoint = FakeEndpoint(500, INVALID, 500, VALID)
    async with endpoint.client([Repair(), Retry(base=0.001)]) as client:
        assert (await client.chat("Who?", answer=Person)).answer.age == 36
    assert len(endpoint.attempts) == 4


async def test_without_a_type_nothing_is_repaired() -> None:
    error = headrace.AnswerError("another policy's")
    endpoint = FakeEndpoint(error)
    async with endpoint.client([Repair()]) as client:
        with pytest.raises(headrace.AnswerError) as caught:
            await client.chat("Who?")
    assert caught.value is error


def test_a_policy_with_nothing_to_do_is_none() -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Repair(attempts=1).wrap(send) is send
    with pytest.raises(headrace.SettingsError, match="attempts=0"):
        Repair(attempts=0)
