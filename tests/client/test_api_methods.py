"""API methods: their common keywords, what they send, and invalid arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from tests.checkpoints import turns_during

import headrace
from headrace import AuthenticationError, Call, CallError, Client, ParsedReply, Reply, Request, RequestError
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.parameters import CallOptions, ChatOptions, ModelOptions, ResponseOptions

pytestmark = pytest.mark.anyio

Method = Callable[..., Awaitable[Any]]


async def chat(client: Client, **options: Any) -> Any:
    return await client.chat("x", **options)


async def typed(client: Client, **options: Any) -> Any:
    return await client.chat("x", answer=dict[str, int], **options)


async def stream(client: Client, **options: Any) -> Any:
    async with client.stream("x", **options) as pieces:
        return [piece async for piece in pieces]


async def responses(client: Client, **options: Any) -> Any:
    return await client.responses("x", **options)


async def embed(client: Client, **options: Any) -> Any:
    return await client.embed(["x"], **options)


async def models(client: Client, **options: Any) -> Any:
    return await client.models(**options)


async def request(client: Client, **options: Any) -> Any:
    return await client.request("POST", "/moderations", {"input": "x"}, **options)


ALL: list[Method] = [chat, typed, stream, responses, embed, models, request]


@pytest.fixture
def endpoint() -> FakeEndpoint:
    listed = {"object": "list", "data": [{"id": "m"}]}

    class Telling(FakeEndpoint):
        async def handle(self, call: Call) -> Reply:
            if call.request.method == "GET":
                self.then(Answer(body=listed))
            return await super().handle(call)

    return Telling(otherwise='{"a": 1}')


# Common keywords.


@pytest.mark.parametrize("method", ALL)
async def test_every_method_accepts_the_same_keywords(endpoint: FakeEndpoint, method: Method) -> None:
    keywords: dict[str, Any] = {
        "id": "7",
        "timeout": 30.0,
        "deadline": 60.0,
        "tags": {"team": "a"},
        "headers": {"X-Tenant": "blue", "user-agent": "mine"},
        "priority": 3,
    }
    assert keywords.keys() == CallOptions.__optional_keys__
    async with endpoint.client() as client:
        await method(client, **keywords)
    [seen] = endpoint.attempts
    assert (seen.id, seen.timeout, seen.deadline, seen.tags) == ("7", 30.0, 60.0, {"team": "a"})
    assert (seen.headers, seen.priority) == ((("X-Tenant", "blue"), ("user-agent", "mine")), 3)
    assert not keywords.keys() & (seen.body or {}).keys()


@pytest.mark.parametrize("method", ALL)
async def test_keywords_of_none_are_ignored(endpoint: FakeEndpoint, method: Method) -> None:
    async with endpoint.client() as client:
        await method(client, id=None, timeout=None, deadline=None, tags=None, headers=None)
    [seen] = endpoint.attempts
    assert (seen.id, seen.timeout, seen.deadline, dict(seen.tags), seen.headers) == (None, None, None, {}, ())


@pytest.mark.parametrize("method", [chat, typed, stream, responses, embed])
async def test_methods_with_a_model_accept_model_and_extra_body(
    endpoint: FakeEndpoint, method: Method
) -> None:
    async with endpoint.client() as client:
        await method(client, model="other", extra_body={"top_k": 5})
        await method(client, extra_body={"model": "third"})
        await method(client, model=None, extra_body=None)
    sent = [(seen.model, (seen.body or {}).get("top_k")) for seen in endpoint.attempts]
    assert sent == [("other", 5), ("third", None), ("fake-model", None)]


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X-A": "1\r\nX-B: 2"}, "'X-A' contains a line break"),
        ({"X-A": "\x00"}, "'X-A' contains a line break"),
        ({"X-A": "ü"}, "outside ASCII"),
        ({"X A": "1"}, "'X A' contains a character"),
        ({"": "1"}, "contains a character"),
        ({"Content-Length": "5"}, "set by headrace itself"),
        ({"host": "x"}, "set by headrace itself"),
        ({"X-A": 5}, "'X-A' must be a string"),
        ({5: "x"}, "must be a string"),
        ([("X-A", "1")], "must be a mapping"),
        ("X-A: 1", "must be a mapping"),
    ],
)
async def test_invalid_headers_raise_before_anything_is_sent(
    endpoint: FakeEndpoint, method: Method, headers: Any, message: str
) -> None:
    async with endpoint.client() as client:
        with pytest.raises(RequestError, match=message):
            await method(client, headers=headers)
    assert endpoint.attempts == []


@pytest.mark.parametrize("method", ALL)
async def test_an_unknown_keyword_raises_with_a_suggestion(endpoint: FakeEndpoint, method: Method) -> None:
    async with endpoint.client() as client:
        with pytest.raises(RequestError, match=r"no (parameter|keyword) 'dedline'; did you mean 'deadline'"):
            await method(client, dedline=5)
    assert endpoint.attempts == []


@pytest.mark.parametrize("method", [chat, stream, responses, embed])
async def test_extra_body_must_be_a_mapping(endpoint: FakeEndpoint, method: Method) -> None:
    async with endpoint.client() as client:
        with pytest.raises(RequestError, match="extra_body must be a mapping, not int"):
            await method(client, extra_body=5)


def test_the_keywords_are_declared_once() -> None:
    for options in (ChatOptions, ResponseOptions, ModelOptions):
        assert options.__optional_keys__ >= CallOptions.__optional_keys__
        assert not options.__required_keys__


@pytest.mark.parametrize("method", [chat, responses, embed, request])
async def test_an_invalid_call_is_a_checkpoint(endpoint: FakeEndpoint, method: Method) -> None:
    async with endpoint.client() as client:

        async def make_invalid_calls() -> None:
            for _ in range(100):
                with pytest.raises(RequestError):
                    await method(client, headers=5)

        assert await turns_during(make_invalid_calls) > 50
        with anyio.CancelScope() as scope:
            scope.cancel()
            await method(client, headers=5)
        assert scope.cancelled_caught


# send.


async def test_send_uses_the_clients_model_by_default(endpoint: FakeEndpoint) -> None:
    messages = [{"role": "user", "content": "x"}]
    request = Request({"messages": messages}, id="7", headers=(("X-A", "1"),), tags={"a": "b"})
    async with endpoint.client() as client:
        reply = await client.send(request)
        assert type(reply) is Reply
        assert (reply.text, reply.attempts) == ('{"a": 1}', 1)
        answered = await client.send(Request({"messages": messages}, answer=dict[str, int]))
        assert isinstance(answered, ParsedReply)
        assert answered.answer == {"a": 1}
        await client.send(Request({"input": "x"}, "/moderations"))
        await client.send(Request(None, "/models", "GET"))
    first, _, third, fourth = endpoint.attempts
    assert (first.id, first.headers, first.tags, first.model) == (
        "7",
        request.headers,
        {"a": "b"},
        "fake-model",
    )
    assert (third.path, fourth.method) == ("/moderations", "GET")


@pytest.mark.parametrize("item", ["x", {"messages": []}, None, [Request({"messages": []})]])
async def test_send_accepts_only_requests(endpoint: FakeEndpoint, item: Any) -> None:
    async with endpoint.client() as client:
        with pytest.raises(RequestError, match=r"send takes a headrace\.Request"):
            await client.send(item)


async def test_send_raises_the_errors_of_chat() -> None:
    async with FakeEndpoint(401).client() as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.send(Request({"messages": []}, id="7"))
        assert caught.value.request is not None
        assert caught.value.request.id == "7"
    with pytest.raises(headrace.ClientStateError):
        await client.send(Request({"messages": []}))


# Representations.


async def test_the_repr_of_a_client_shows_url_state_and_calls_in_flight() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=60))
    client = endpoint.client(api_key="sk-canary-f00dfeed", base_url="https://llm.example/v1", max_in_flight=7)
    assert repr(client) == "<Client https://llm.example/v1 not open yet>"
    async with client:
        assert repr(client) == "<Client https://llm.example/v1 open, 0 of 7 in flight>"
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(client.chat, "x")
            await anyio.wait_all_tasks_blocked()
            assert repr(client) == "<Client https://llm.example/v1 open, 2 of 7 in flight>"
            group.cancel_scope.cancel()
    assert repr(client) == "<Client https://llm.example/v1 closed>"
    endpoints = [
        headrace.Endpoint("https://one.example", "sk-canary-f00dfeed"),
        headrace.Endpoint("http://b"),
    ]
    assert "https://one.example, http://b not open" in repr(Client(endpoints=endpoints, policies=[]))


async def test_the_repr_of_a_stream_shows_its_state() -> None:
    async with FakeEndpoint("Hello world").client(api_key="sk-canary-f00dfeed") as client:
        stream = client.stream("x")
        assert repr(stream) == "<Stream not entered yet>"
        async with stream:
            assert repr(stream) == "<Stream from fake.test open, 11 characters so far>"
            async for _ in stream:
                pass
            assert repr(stream) == "<Stream from fake.test complete, 11 characters in 0.0 s>"
        left = client.stream("x")
        async with left:
            pass
        assert repr(left).startswith("<Stream from fake.test broken off, ")
    failing = FakeEndpoint(500).client()
    async with failing as client:
        stream = client.stream("x")
        with pytest.raises(CallError):
            await stream.__aenter__()
        assert repr(stream) == "<Stream waiting for its first chunk>"
