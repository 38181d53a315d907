"""The repair policy in a client, on asyncio and trio."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

import headrace
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace_repair import Repair

pytestmark = pytest.mark.anyio


@attrs.define
class Person:
    name: str
    age: int


VALID = '{"name": "Ada", "age": 36}'
INVALID = '{"name": "Ada", "age": "thirty-six"}'


async def test_repair_fulfils_the_policy_contract() -> None:
    await check_policy_contract(Repair)


async def test_a_repair_request_shows_the_invalid_answer_and_the_error() -> None:
    endpoint, recorder = FakeEndpoint(INVALID, VALID), EventRecorder()
    async with endpoint.client([Repair()], observers=[recorder]) as client:
        reply = await client.chat("Who?", answer=Person)
    assert reply.answer == Person("Ada", 36)
    assert (reply.attempts, reply.usage) == (2, headrace.Usage(20, 10, 30, 0))
    first, second = (request.body for request in endpoint.attempts)
    assert first is not None
    assert second is not None
    assert second["response_format"] == first["response_format"]
    assert second["messages"][:2] == [*first["messages"], {"role": "assistant", "content": INVALID}]
    assert "Expected `int`, got `str` - at `$.age`" in second["messages"][2]["content"]
    assert [(event.name, event.data["attempt"]) for event in recorder.events] == [("repair", 1)]


async def test_a_request_with_a_file_is_repaired() -> None:
    endpoint = FakeEndpoint(INVALID, VALID)
    parts = [{"type": "text", "text": "Who?"}, headrace.file(b"Ada is 36.")]
    async with endpoint.client([Repair()]) as client:
        reply = await client.chat([{"role": "user", "content": parts}], answer=Person)
    assert reply.answer == Person("Ada", 36)
    first, second = (request.body for request in endpoint.attempts)
    assert first is not None
    assert second is not None
    assert second["messages"][0] == first["messages"][0]


async def test_the_last_error_is_raised_and_all_attempts_are_charged() -> None:
    Cost = pytest.importorskip("headrace_cost").Cost
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
        {"message": {"content": '{"name": "Ad'}, "finish_reason": "max_tokens"},
        {"message": {"content": ""}, "finish_reason": "content_filter"},
        {"message": {"content": ""}, "finish_reason": "sensitive"},
        {"message": {"content": '{"na'}, "finish_reason": "insufficient_system_resource"},
        {"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"},
    ],
)
async def test_an_incomplete_answer_is_not_repaired(message: dict[str, Any]) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body={"choices": [message]}))
    async with endpoint.client([Repair(attempts=3)]) as client:
        with pytest.raises(headrace.AnswerError) as caught:
            await client.chat("Who?", answer=Person)
    assert caught.value.finish_reason is not None
    assert len(endpoint.attempts) == 1


@pytest.mark.parametrize(
    "failure", [503, 400, lambda: headrace.ConnectError("refused"), Answer(body=b"busy")]
)
async def test_a_failed_repair_has_the_answer_error_as_its_cause(failure: Any) -> None:
    endpoint = FakeEndpoint(INVALID, failure() if callable(failure) else failure)
    async with endpoint.client([Repair()]) as client:
        with pytest.raises(headrace.CallError, match="; this request was made to repair") as caught:
            await client.chat("Who?", answer=Person)
    error = caught.value
    assert not isinstance(error, headrace.AnswerError)
    assert isinstance(error.__cause__, headrace.AnswerError)
    assert "thirty-six" in str(error.__cause__)
    assert "thirty-six" not in str(error), "only an AnswerError quotes the answer"
    assert error.attempts == 2
    assert error.partial is not None
    assert error.partial.text == INVALID
    assert error.partial.usage == headrace.Usage(10, 5, 15, 0)


async def test_an_error_of_the_first_request_is_raised_unchanged() -> None:
    endpoint = FakeEndpoint(503)
    async with endpoint.client([Repair()]) as client:
        with pytest.raises(headrace.ServerError) as caught:
            await client.chat("Who?", answer=Person)
    assert caught.value.__cause__ is None
    assert "repair" not in str(caught.value)


async def test_usage_is_the_sum_of_the_reported_usages() -> None:
    def answer_with_usage(text: str, usage: dict[str, Any] | None) -> Answer:
        return Answer(body={"choices": [{"message": {"content": text}}], "usage": usage})

    details = {
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    for first, second, total in (
        (counts | details, counts, headrace.Usage(20, 10, 30, 4, reasoning_tokens=3)),
        (None, counts, headrace.Usage(10, 5, 15)),
        (None, None, None),
    ):
        endpoint = FakeEndpoint(answer_with_usage(INVALID, first), answer_with_usage(VALID, second))
        async with endpoint.client([Repair()]) as client:
            assert (await client.chat("Who?", answer=Person)).usage == total


async def test_each_repair_request_may_be_retried() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = FakeEndpoint(500, INVALID, 500, VALID)
    async with endpoint.client([Repair(), Retry(base=0.001)]) as client:
        assert (await client.chat("Who?", answer=Person)).answer.age == 36
    assert len(endpoint.attempts) == 4


async def test_a_call_without_a_type_is_not_repaired() -> None:
    error = headrace.AnswerError("another policy's")
    endpoint = FakeEndpoint(error)
    async with endpoint.client([Repair()]) as client:
        with pytest.raises(headrace.AnswerError) as caught:
            await client.chat("Who?")
    assert caught.value is error


def test_one_attempt_adds_no_wrapper() -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Repair(attempts=1).wrap(send) is send
    with pytest.raises(headrace.SettingsError, match="attempts=0"):
        Repair(attempts=0)
