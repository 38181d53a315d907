"""How an endpoint is asked for a typed answer after it has rejected a mode or a schema."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs
import pytest

from headrace import Call, Client, Headers, Reply, StatusError
from headrace.transports.memory import MemoryTransport

BAD, GOOD = Literal["bad"], Literal["good"]

# Messages of endpoints that reject one schema.
OF_THIS_SCHEMA = [
    "Invalid schema for response_format 'Literal': In context=('properties',), 'x' is not permitted.",
    "invalid JSON schema for response_format: 'Literal': /properties/answer: must be one of",
    "JSON schema conversion failed: unrecognized schema",
    "Grammar error: Unimplemented keys: ['x'] (expected others)",
    "Could not compile json schema: unsupported keyword",
]
# Messages of endpoints that support no schemas at all.
OF_ALL_SCHEMAS = [
    "This response_format type is unavailable now",
    "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
    "Invalid value: 'json_schema'. Supported values are: 'json_object' and 'text'.",
    "This model does not support response format `json_schema`.",
    'response_format type must be one of "text" or "json_object", but got: json_schema',
    "unknown parameter: response_format",
]


@attrs.define
class Choosy:
    """An endpoint that rejects requests with one of these words in their ``response_format``."""

    words: str
    refused: tuple[str, ...]
    status: int = 400
    formats: list[tuple[str, str]] = attrs.field(factory=list)

    async def handle(self, call: Call) -> Reply:
        body: Any = json.loads(call.content)
        wanted = "bad" if "bad" in json.dumps(body) else "good"
        format = body.get("response_format", {"type": "words"})
        self.formats.append((wanted, format["type"]))
        if any(word in json.dumps(format) for word in self.refused):
            return Reply(self.status, Headers([]), json.dumps({"error": {"message": self.words}}).encode())
        message = {"content": json.dumps({"answer": wanted})}
        return Reply(200, Headers([]), json.dumps({"choices": [{"message": message}]}).encode())

    def client(self) -> Client:
        return Client(
            base_url="http://fake.test/v1", model="m", policies=[], transport=MemoryTransport(self.handle)
        )


@pytest.mark.anyio
@pytest.mark.parametrize("words", OF_THIS_SCHEMA)
@pytest.mark.parametrize("status", [400, 422])
async def test_a_rejected_schema_says_nothing_about_others(words: str, status: int) -> None:
    endpoint = Choosy(words, ('"bad"',), status)
    async with endpoint.client() as client:
        for kind in (BAD, GOOD, BAD, GOOD):
            assert (await client.chat("?", answer=kind)).answer in {"bad", "good"}
    schema, other = "json_schema", "json_object"
    assert endpoint.formats == [
        ("bad", schema),
        ("bad", other),
        ("good", schema),
        ("bad", other),
        ("good", schema),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("words", OF_ALL_SCHEMAS)
async def test_an_endpoint_without_schemas_gets_one_only_once(words: str) -> None:
    endpoint = Choosy(words, ("json_schema",))
    async with endpoint.client() as client:
        for kind in (BAD, GOOD, BAD):
            await client.chat("?", answer=kind)
        assert [kind for _, kind in endpoint.formats] == ["json_schema", *["json_object"] * 3]
        await client.chat("?", answer=GOOD, model="another")
    assert endpoint.formats[-2:] == [("good", "json_schema"), ("good", "json_object")], "models differ"


@pytest.mark.anyio
async def test_an_endpoint_with_only_schemas_gets_them_after_it_rejected_one() -> None:
    endpoint = Choosy("'response_format.type' must be 'json_schema'", ('"bad"', "json_object"))
    async with endpoint.client() as client:
        for kind in (BAD, GOOD, BAD):
            await client.chat("?", answer=kind)
    first = [("bad", "json_schema"), ("bad", "json_object"), ("bad", "words")]
    assert endpoint.formats[:3] == first
    assert endpoint.formats[-1] == ("bad", "words")


@pytest.mark.anyio
async def test_a_rejection_of_all_modes_raises_and_is_not_remembered() -> None:
    endpoint = Choosy("Invalid schema for function 'f'", ("",))
    async with endpoint.client() as client:
        for _ in range(2):
            with pytest.raises(StatusError, match="Invalid schema for function") as caught:
                await client.chat("?", answer=GOOD)
            assert caught.value.attempts == 3
        endpoint.refused = ()
        assert (await client.chat("?", answer=GOOD)).attempts == 1
    assert [kind for _, kind in endpoint.formats] == [
        *["json_schema", "json_object", "words"] * 2,
        "json_schema",
    ]
