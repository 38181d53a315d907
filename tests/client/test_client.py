"""The client: single calls, invalid arguments, opening and closing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

import headrace
from headrace import (
    Client,
    ClientStateError,
    RequestError,
    Stage,
    Usage,
)
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport

URL = "http://fake.test/v1"


class Priced:
    """A policy that sets the cost of a call."""

    name = "cost"
    stage = Stage.ACCOUNT

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def priced(call: headrace.Call) -> headrace.Reply:
            reply = await send(call)
            reply.cost = Decimal("0.0001")
            return reply

        return priced


@pytest.mark.anyio
async def test_a_chat_returns_text_usage_and_attempts() -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag", prompt_tokens=12, completion_tokens=8, cached_tokens=4))
    async with headrace.Client(
        base_url=URL,
        api_key="sk-test",
        model="deepseek-v3.2",
        max_in_flight=100,
        timeout=60.0,
        policies=None,
        transport=MemoryTransport(endpoint.handle),
    ) as client:
        reply = await client.chat("Hallo", temperature=0.3, max_tokens=100)
    assert reply.text == "Guten Tag"
    assert reply.usage == Usage(12, 8, 20, 4)
    assert reply.usage.total_tokens == 20
    assert reply.attempts == 1
    assert reply.elapsed > 0
    assert reply.status == 200
    assert reply.model == "deepseek-v3.2"
    assert reply.body["object"] == "chat.completion"
    (request,) = endpoint.attempts
    assert (request.method, request.path) == ("POST", "/chat/completions")
    assert request.body == {
        "model": "deepseek-v3.2",
        "messages": [{"role": "user", "content": "Hallo"}],
        "temperature": 0.3,
        "max_tokens": 100,
    }


@pytest.mark.anyio
async def test_cost_is_set_by_a_policy_and_none_without_one(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        assert (await client.chat("Hallo")).cost is None
    async with fake_endpoint.client([Priced()]) as client:
        assert (await client.chat("Hallo")).cost == Decimal("0.0001")


@pytest.mark.anyio
async def test_options_of_a_call_reach_the_request(fake_endpoint: FakeEndpoint) -> None:
    messages = [{"role": "system", "content": "Kurz."}, {"role": "user", "content": "Hallo"}]
    async with fake_endpoint.client() as client:
        await client.chat(
            messages,
            model="other",
            id="7",
            timeout=3.0,
            deadline=9,
            tags={"team": "a"},
            extra_body={"top_k": 5},
        )
    (request,) = fake_endpoint.attempts
    assert request.body == {"model": "other", "messages": messages, "top_k": 5}
    assert (request.id, request.timeout, request.deadline) == ("7", 3.0, 9)
    assert request.tags == {"team": "a"}
    assert request.model == "other"


@pytest.mark.anyio
async def test_any_path_of_the_endpoint_can_be_called() -> None:
    endpoint = FakeEndpoint(Answer(body={"data": [{"embedding": [0.5]}]}), Answer(body={"data": []}))
    async with endpoint.client(model=None) as client:
        reply = await client.request("POST", "/embeddings", {"model": "m", "input": "Hallo"})
        assert reply.body["data"][0]["embedding"] == [0.5]
        await client.request("get", "/models")
    assert [(seen.method, seen.path) for seen in endpoint.attempts] == [
        ("POST", "/embeddings"),
        ("GET", "/models"),
    ]
    assert endpoint.attempts[1].body is None


def test_url_and_key_come_from_the_openai_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    client = Client(policies=[])
    assert client.settings.base_url == "https://llm.example/v1"
    assert client.settings.api_key is not None
    assert client.settings.api_key.reveal() == "sk-env"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"max_in_fligth": 5}, "'max_in_fligth'; did you mean 'max_in_flight'"),
        ({"basurl": URL}, "did you mean 'base_url'"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "fast"}, "timeout"),
        ({"transport": "pigeon"}, "'pigeon'"),
        ({"transport": 5}, "not a transport"),
        ({"transport": MemoryTransport}, "did you mean MemoryTransport()"),
        ({"policies": "retry"}, "policies"),
        ({"policies": Priced()}, "policies"),
        ({"policies": ["retry"]}, "'retry' is not a policy"),
        ({"policies": [Priced]}, "did you mean Priced()"),
    ],
)
def test_an_invalid_keyword_of_the_client_raises_at_once(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(headrace.SetupError) as caught:
        Client(**{"base_url": URL, "policies": [], **keywords})
    assert message in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (["Hallo"], {"temprature": 1}, "'temprature'; did you mean 'temperature'"),
        (["Hallo"], {"stream": True}, "stream"),
        (["Hallo"], {"extra_body": {"stream": True}}, "stream"),
        (["Hallo"], {"timeout": "fast"}, "timeout"),
        (["Hallo"], {"timeout": 0}, "timeout"),
        (["Hallo"], {"deadline": -5}, "deadline"),
        (["Hallo"], {"deadline": float("nan")}, "deadline"),
        (["Hallo"], {"model": "a\r\nb"}, "model"),
        (["Hallo"], {"user": object()}, "JSON"),
        ([[]], {}, "messages"),
        ([["Hallo"]], {}, "messages"),
        ([{"role": "user", "content": "Hallo"}], {}, "messages"),
        ([5], {}, "messages"),
    ],
)
async def test_an_invalid_argument_of_chat_raises_at_once(
    fake_endpoint: FakeEndpoint, arguments: list[Any], keywords: dict[str, Any], message: str
) -> None:
    async with fake_endpoint.client() as client:
        with pytest.raises(RequestError) as caught:
            await client.chat(*arguments, **keywords)
        assert client.in_flight == 0
    assert message in str(caught.value)
    assert fake_endpoint.attempts == []


@pytest.mark.anyio
async def test_a_call_without_a_model_raises_an_error_with_advice(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client(model=None) as client:
        with pytest.raises(RequestError, match="model="):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_a_client_raises_before_opening_and_after_closing(fake_endpoint: FakeEndpoint) -> None:
    client = fake_endpoint.client()
    with pytest.raises(ClientStateError, match="not open yet"):
        await client.chat("Hallo")
    with pytest.raises(ClientStateError, match="not open yet"):
        client.map(["Hallo"])
    async with client:
        late = client.map(["Hallo"], max_in_flight=2)
    with pytest.raises(ClientStateError, match="closed"):
        await client.chat("Hallo")
    with pytest.raises(ClientStateError, match="closed"):
        await client.request("GET", "/models")
    with pytest.raises(ClientStateError, match="closed"):
        client.map(["Hallo"])
    with pytest.raises(ClientStateError, match="before"):
        await client.__aenter__()
    async with late as outcomes:
        assert [type(outcome.error) async for outcome in outcomes] == [ClientStateError]
    assert fake_endpoint.attempts == []


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_a_client_belongs_to_the_loop_in_which_it_was_opened(first: str, second: str) -> None:
    client = FakeEndpoint().client()

    async def use() -> None:
        await client.chat("Hallo")

    async def open_here() -> None:
        async with client:
            await anyio.to_thread.run_sync(elsewhere)

    def elsewhere() -> None:
        with pytest.raises(ClientStateError, match="another event loop"):
            anyio.run(use, backend=second)

    anyio.run(open_here, backend=first)


@pytest.mark.anyio
async def test_the_transport_is_closed_even_if_the_client_is_cancelled() -> None:
    class Closing(MemoryTransport):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    transport = Closing(FakeEndpoint().handle)
    async with Client(base_url=URL, policies=[], transport=transport):
        assert transport.closed == 0
    assert transport.closed == 1
    with anyio.CancelScope() as scope:
        async with Client(base_url=URL, policies=[], transport=transport):
            scope.cancel()
            await anyio.sleep_forever()
    assert transport.closed == 2


def test_in_flight_is_zero_before_the_client_is_open(fake_endpoint: FakeEndpoint) -> None:
    assert fake_endpoint.client().in_flight == 0
