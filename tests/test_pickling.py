"""Pickling of requests, replies, errors and outcomes, without keys."""

from __future__ import annotations

import dataclasses
import enum
import pickle
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Literal, TypedDict

import anyio
import attrs
import msgspec
import pydantic
import pytest

import headrace
from headrace import (
    AnswerError,
    Headers,
    HeadraceError,
    InvalidReply,
    Outcome,
    ParsedReply,
    RateLimited,
    Request,
    Timeout,
    Tools,
)
from headrace.testing import Answer, FakeEndpoint

KEY = "sk-proj-QwErTzUi-OpAsDfGh"
SECRET = KEY.removeprefix("sk-proj-").encode()


@dataclasses.dataclass
class AsDataclass:
    a: int


@attrs.define
class AsAttrs:
    a: int


class AsStruct(msgspec.Struct):
    a: int


class AsPydantic(pydantic.BaseModel):
    a: int


class AsTypedDict(TypedDict):
    a: int


class AsEnum(enum.Enum):
    A = "a"


SCHEMA = {"title": "S", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OBJECT, WRAPPED = '{"a": 1}', '{"answer": "a"}'
KINDS: list[tuple[Any, str]] = [
    (AsDataclass, OBJECT),
    (AsAttrs, OBJECT),
    (AsStruct, OBJECT),
    (AsPydantic, OBJECT),
    (AsTypedDict, OBJECT),
    (SCHEMA, OBJECT),
    (AsEnum, WRAPPED),
    (Literal["a", "b"], WRAPPED),
    (list[AsDataclass], '{"answer": [{"a": 1}]}'),
    (list[AsPydantic], '{"answer": [{"a": 1}]}'),
    (dict[str, int], '{"answer": {"a": 1}}'),
]


def look_up(word: str, times: int = 1) -> str:
    """Look a word up."""
    return word * times


def carried(value: Any) -> Any:
    written = pickle.dumps(value)
    assert SECRET[:8] not in written
    return pickle.loads(written)


async def outcomes(*answers: Any, **keywords: Any) -> list[Outcome[Any]]:
    client = FakeEndpoint(*answers).client(api_key=KEY, policies=[])
    async with client, client.map(["x"] * len(answers), max_in_flight=1, **keywords) as found:
        gathered: list[Outcome[Any]] = [outcome async for outcome in found]
    return gathered


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "text"), KINDS, ids=lambda each: str(each)[:30])
async def test_an_outcome_with_a_typed_answer_can_be_pickled(kind: Any, text: str) -> None:
    good, bad = await outcomes(text, "rubbish", answer=kind)
    there = carried(good)
    assert isinstance(there.reply, ParsedReply)
    assert there.reply.answer == good.unwrap().answer
    assert (there.reply.usage, there.reply.text, there.elapsed) == (good.unwrap().usage, text, good.elapsed)
    assert carried(there.request).answer.parse(text) == there.reply.answer
    failed = carried(bad).error
    assert isinstance(failed, AnswerError)
    assert failed.partial is not None
    assert (str(failed), failed.partial.text) == (str(bad.error), "rubbish")


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "text"), KINDS, ids=lambda each: str(each)[:30])
async def test_a_sent_request_can_be_sent_again_in_another_process(kind: Any, text: str) -> None:
    request = carried((await outcomes(text, answer=kind))[0].request)
    async with FakeEndpoint(text).client() as client, client.map([request]) as found:
        replies: list[Any] = [outcome.unwrap() async for outcome in found]
    assert replies[0].answer is not None


@pytest.mark.anyio
async def test_outcomes_and_errors_with_tools_are_pickled_without_the_functions() -> None:
    def local(word: str) -> str:
        """A function that only this process knows."""
        return word

    for tools in (Tools(look_up), Tools(local)):
        endpoint = FakeEndpoint("ok", Answer(status=429, body={"error": {"message": KEY}}))
        async with endpoint.client(api_key=KEY, policies=[]) as client:
            request = Request({"messages": [{"role": "user", "content": "x"}], "tools": tools})
            async with client.map([request, request], max_in_flight=1) as found:
                good, bad = [carried(outcome) async for outcome in found]
        assert good.request.body["tools"] == list(tools)
        assert isinstance(bad.error, RateLimited)
        assert bad.error.body == b'{"error":{"message":"***"}}'
    assert carried(Tools(look_up)).calls(good.reply) == []


@pytest.mark.anyio
async def test_keys_and_streams_are_not_pickled() -> None:
    text = f"your key is {KEY}"
    [outcome] = await outcomes(Answer(text, headers={"x-request-id": KEY}))
    assert outcome.unwrap().text == text
    there = carried(outcome)
    assert (there.reply.text, there.reply.request_id) == ("your key is ***", "***")
    [outcome] = await outcomes(f'{{"answer": ["{KEY}"]}}', answer=list[str])
    assert carried(outcome).reply.answer == ["***"]
    async with FakeEndpoint(text).client(api_key=KEY, policies=[]) as client:
        async with client.stream("x") as stream:
            async for _ in stream:
                assert SECRET not in pickle.dumps(stream.partial)
        assert carried(stream.reply).text == "your key is ***"


def kinds_of_errors(kind: type[HeadraceError] = HeadraceError) -> Iterator[type[HeadraceError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from kinds_of_errors(each)


@pytest.mark.parametrize("kind", list(kinds_of_errors()), ids=lambda kind: kind.__name__)
def test_every_error_can_be_pickled(kind: type[HeadraceError]) -> None:
    error: Any = kind("what happened")
    arguments = {
        "status": 429,
        "headers": Headers([(b"Retry-After", b"7")]),
        "body": b"{}",
        "error_code": "slow_down",
        "retryable": True,
        "phase": "read",
        "attempts": 3,
        "request": Request({"messages": []}, timeout=Timeout(3), answer=AsAttrs),
    }
    for name, value in arguments.items():
        if hasattr(error, name):
            setattr(error, name, value)
    error.add_note("a note")
    there: Any = carried(error)
    assert (type(there), repr(there)) == (kind, repr(error))
    for name, value in vars(error).items():
        if name == "request":
            assert (there.request.timeout, there.request.answer) == (value.timeout, AsAttrs)
        elif name == "headers":
            assert dict(there.headers) == dict(value)
        else:
            assert getattr(there, name) == value


def made_elsewhere(number: int) -> Outcome[Any]:
    """The result of a worker in a process pool."""

    async def call() -> Outcome[Any]:
        answers = [
            '{"a": 7}',
            "rubbish",
            Answer(status=429, headers={"retry-after": "3"}),
            Answer(body=b"<p>"),
        ]
        return (await outcomes(answers[number], answer=AsDataclass))[0]

    return anyio.run(call)


def test_outcomes_can_be_returned_from_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        good, wrong, refused, broken = pool.map(made_elsewhere, range(4))
    assert good.unwrap().answer == AsDataclass(7)
    assert isinstance(wrong.error, AnswerError)
    assert isinstance(refused.error, RateLimited)
    assert refused.error.retry_after == 3.0
    assert isinstance(broken.error, InvalidReply)
    assert {outcome.attempts for outcome in (good, wrong, refused, broken)} == {1}


def test_a_secret_cannot_be_pickled() -> None:
    for holder in (headrace.Secret(KEY), headrace.Endpoint("https://llm.example/v1", KEY)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(holder)


def test_a_request_is_equal_to_its_copy_from_another_process() -> None:
    request = Request(
        {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        id=str(random.random()),
        timeout=3.0,
        deadline=9.0,
        tags={"a": "b"},
        headers=(("X-A", "b"),),
        priority=3,
    )
    assert carried(request) == request
