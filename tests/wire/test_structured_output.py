"""Answers of a type (structured output)."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from headrace import AnswerError, Client, InvalidReply, Request, RequestError
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import endpoint_process
from headrace.wire.structured_output import response_format_for


class Section(enum.Enum):
    GARDEN = "Garten"
    HOME = "Haushalt"


@attrs.define
class ByAttrs:
    name: str
    section: Section


@dataclasses.dataclass
class ByDataclass:
    name: str
    section: Section


class ByStruct(msgspec.Struct):
    name: str
    section: Section


class ByDict(TypedDict):
    name: str
    section: Section


class ByPydantic(pydantic.BaseModel):
    name: str
    section: Section


HOSE = '{"name": "Hose", "section": "Garten"}'
KINDS = [ByAttrs, ByDataclass, ByStruct, ByDict, ByPydantic]


def schema_of(endpoint: FakeEndpoint) -> Any:
    body = endpoint.attempts[-1].body
    assert body is not None
    assert body["response_format"]["type"] == "json_schema"
    requested = body["response_format"]["json_schema"]
    assert requested["strict"] is True
    return requested["schema"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_the_answer_is_an_instance_of_the_type(kind: type[Any]) -> None:
    endpoint = FakeEndpoint(HOSE)
    async with endpoint.client() as client:
        reply = await client.chat("Sort: hose", answer=kind)
    expected = {"name": "Hose", "section": Section.GARDEN}
    assert reply.answer == (expected if kind is ByDict else kind(**expected))
    assert (reply.text, reply.attempts, reply.usage is not None) == (HOSE, 1, True)
    schema = schema_of(endpoint)
    assert (schema["type"], schema["required"]) == ("object", ["name", "section"])
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Section"]["enum"] == ["Garten", "Haushalt"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Literal["a", "b"], '{"answer": "a"}', "a"),
        (Section, '{"answer": "Garten"}', Section.GARDEN),
        (list[ByAttrs], f'{{"answer": [{HOSE}]}}', [ByAttrs("Hose", Section.GARDEN)]),
        (bool, '{"answer": true}', True),
        (Annotated[float, msgspec.Meta(ge=0, le=1)], '{"answer": 0.5}', 0.5),
    ],
    ids=str,
)
async def test_a_type_that_is_not_an_object_is_wrapped_in_one(kind: Any, text: str, value: Any) -> None:
    endpoint = FakeEndpoint(text)
    async with endpoint.client() as client:
        assert (await client.chat("?", answer=kind)).answer == value
    assert list(schema_of(endpoint)["properties"]) == ["answer"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["", "Garten", "[]", '{"name": "Hose"}', '{"name": "Hose", "section": "Küche"}']
)
async def test_an_invalid_answer_is_an_error_with_the_reply(kind: type[Any], text: str) -> None:
    async with FakeEndpoint(text).client() as client:
        with pytest.raises(AnswerError) as caught:
            await client.chat("Sort: hose", answer=kind)
    assert f"is not {kind.__name__}: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.partial is not None
    assert caught.value.partial.text == text


@pytest.mark.anyio
async def test_a_code_fence_is_removed() -> None:
    async with FakeEndpoint(f"```json\n{HOSE}\n```\n").client() as client:
        assert (await client.chat("?", answer=ByAttrs)).answer.name == "Hose"


@pytest.mark.anyio
async def test_the_strictest_accepted_mode_is_used_and_remembered() -> None:
    rejected = Answer(status=400, body={"error": {"message": "unknown parameter: response_format"}})
    endpoint = FakeEndpoint(rejected, rejected, HOSE, HOSE)
    async with endpoint.client() as client:
        for _ in range(2):
            assert (await client.chat("?", answer=ByAttrs)).answer.name == "Hose"
    bodies = [request.body or {} for request in endpoint.attempts]
    kinds = [body.get("response_format", {}).get("type") for body in bodies]
    assert kinds == ["json_schema", "json_object", None, None]
    assert [len(body["messages"]) for body in bodies] == [1, 2, 2, 2]
    assert '"additionalProperties":false' in bodies[-1]["messages"][0]["content"]


@pytest.mark.anyio
async def test_a_400_for_another_reason_is_raised() -> None:
    endpoint = FakeEndpoint(400)
    async with endpoint.client() as client:
        with pytest.raises(Exception, match="injected 400"):
            await client.chat("?", answer=ByAttrs)
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind",
    [
        5,
        "Person",
        object,
        ByAttrs("a", Section.HOME),
        {"type": "objekt"},
        {"$ref": "https://schemas.example/a.json"},
        {"properties": {"a": {"$ref": "#/$defs/A"}}},
    ],
    ids=str,
)
async def test_an_unsupported_type_is_an_error_before_anything_is_sent(kind: Any) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        with pytest.raises(RequestError, match="answer=") as caught:
            await client.chat("?", answer=kind)
        assert "\n" not in str(caught.value)
        with pytest.raises(RequestError, match="leave one of them out"):
            await client.chat("?", answer=ByAttrs, response_format={"type": "text"})
    assert endpoint.attempts == []


@pytest.mark.anyio
async def test_a_real_endpoint_gives_answers_of_each_type() -> None:
    kinds: list[Any] = [*KINDS, Literal["a", "b"], list[ByAttrs]]
    async with (
        endpoint_process() as endpoint,
        Client(base_url=endpoint.base_url, model="m", policies=[]) as client,
    ):
        for kind in kinds:
            assert (await client.chat("Sort: hose", answer=kind)).answer


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "your key is sk-canary"}}]},
        {"choices": [{"message": {"refusal": "not for sk-canary"}}]},
        {"error": {"message": "sk-canary is spent"}},
        {"choices": "sk-canary"},
    ],
    ids=["answer", "refusal", "error", "rubbish"],
)
async def test_no_message_contains_the_key(body: Any) -> None:
    async with FakeEndpoint(Answer(body=body)).client(api_key="sk-canary", insecure=True) as client:
        with pytest.raises((AnswerError, InvalidReply)) as caught:
            await client.chat("?", answer=ByAttrs)
    assert "sk-canary" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_format_is_cached() -> None:
    assert response_format_for(ByAttrs) is response_format_for(ByAttrs)
    assert response_format_for(Literal["a"]) is not response_format_for(Literal["b"])


SCHEMA = {
    "title": "Product",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "section": {"$ref": "#/$defs/Section"},
        "note": {"type": "string"},
    },
    "required": ["name", "section"],
    "$defs": {"Section": {"enum": ["Garten", "Haushalt"]}},
}


@pytest.mark.anyio
async def test_the_type_may_be_a_json_schema() -> None:
    endpoint = FakeEndpoint(HOSE, '{"name": "H", "section": "Garten"}', '{"name": "Hose", "section": "Gart"}')
    async with endpoint.client() as client:
        reply = await client.chat("Sort: hose", answer=SCHEMA)
        assert reply.answer == {"name": "Hose", "section": "Garten"}
        with pytest.raises(AnswerError, match=r"is not Product: 'H' is too short - at `\$\.name`"):
            await client.chat("Sort: hose", answer=SCHEMA)
        with pytest.raises(AnswerError, match=r"'Gart' is not one of \['Garten', 'Haushalt'\]"):
            await client.chat("Sort: hose", answer=SCHEMA)
    # Strict mode requires every property. An answer without one still fits the schema.
    assert schema_of(endpoint)["required"] == ["name", "section", "note"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}, [1, 2]),
        (pydantic.RootModel[list[int]], pydantic.RootModel[list[int]]([1, 2])),
        (list[int], [1, 2]),
    ],
    ids=["schema", "pydantic", "msgspec"],
)
async def test_a_schema_that_is_not_an_object_is_wrapped_in_one(kind: Any, value: Any) -> None:
    endpoint = FakeEndpoint('{"answer": [1, 2]}', '{"answer": ["a"]}')
    async with endpoint.client() as client:
        assert (await client.chat("?", answer=kind)).answer == value
        assert list(schema_of(endpoint)["properties"]) == ["answer"]
        with pytest.raises(AnswerError):
            await client.chat("?", answer=kind)


@pytest.mark.anyio
async def test_a_map_gives_answers_of_a_type() -> None:
    endpoint = FakeEndpoint(otherwise=HOSE)
    own = Request({"messages": [{"role": "user", "content": "Which?"}]}, answer=Literal["a"])
    async with endpoint.client() as client:
        async with client.map(["Sort: hose", own], answer=ByAttrs, ordered=True) as outcomes:
            hose, other = [outcome async for outcome in outcomes]
        assert hose.unwrap().answer == ByAttrs("Hose", Section.GARDEN)
        assert isinstance(other.error, AnswerError)
        async with client.map([Request(None, "/models", "GET")], answer=ByAttrs) as outcomes:
            assert isinstance((await anext(outcomes)).error, RequestError)
        with pytest.raises(RequestError, match="not a valid type"):
            client.map([], answer=object)


def test_only_chats_have_a_typed_answer() -> None:
    with pytest.raises(RequestError, match="answer= needs a chat"):
        Request({"input": "text"}, "/embeddings", answer=ByAttrs)
