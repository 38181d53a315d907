"""Rules: which model or endpoint gets a request that another model rejected."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import anyio.abc
import attrs
import msgspec
import pytest

import headrace
from fake_endpoints import FakeEndpoints
from headrace import Client, Endpoint, SettingsError
from headrace.testing import Answer, EventRecorder, FakeEndpoint
from headrace_route import Route

pytestmark = pytest.mark.anyio

TOO_LONG = Answer(status=400, body={"error": {"message": "too long", "code": "context_length_exceeded"}})
FILTERED = Answer(status=400, body={"error": {"message": "filtered", "code": "content_filter"}})


@attrs.frozen
class Number:
    value: int


def ended(reason: str, **message: Any) -> Answer:
    """Return an answer with status 200 and this finish reason."""
    choice = {"message": {"role": "assistant", "content": ""} | message, "finish_reason": reason}
    return Answer(
        body={
            "object": "chat.completion",
            "choices": [choice],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        }
    )


FILTERED_ANSWER, REFUSED = ended("content_filter"), ended("stop", refusal="I cannot.")


def models(fake: FakeEndpoint) -> list[str | None]:
    return [request.model for request in fake.attempts]


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ("on_context_window", TOO_LONG),
        ("on_content_policy", FILTERED),
        ("on_content_policy", FILTERED_ANSWER),
        ("on_refusal", REFUSED),
    ],
)
async def test_a_rule_sends_the_call_to_another_model(rule: str, step: Answer) -> None:
    fakes, recorder = FakeEndpoints(a=FakeEndpoint(step, "from large")), EventRecorder()
    rules: dict[str, Any] = {rule: "large"}
    async with fakes.client(Route(**rules), observers=[recorder]) as client:
        reply = await client.chat("?", temperature=0)
    assert (reply.text, reply.model, reply.attempts) == ("from large", "large", 2)
    assert models(fakes.by_name["a"]) == ["m", "large"]
    assert fakes.by_name["a"].attempts[1].body == {
        **(fakes.by_name["a"].attempts[0].body or {}),
        "model": "large",
    }
    expected = {"endpoint": "a", "reason": rule.removeprefix("on_"), "model": "large"}
    code = "answer_error" if step.status == 200 else "status_error"
    assert recorder.data("failover") == [expected | {"error": code}]


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("large", {"a": ["m"], "b": ["large-at-b"]}),
        ("b/large", {"a": ["m"], "b": ["large-at-b"]}),
        ("b", {"a": ["m"], "b": ["m"]}),
        ("b/m", {"a": ["m"], "b": ["m"]}),
        ("org/huge", {"a": ["m", "org/huge"], "b": []}),
    ],
)
async def test_a_target_is_a_model_an_endpoint_or_both(target: str, sent: dict[str, list[str]]) -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(TOO_LONG), b=FakeEndpoint("from b"))
    async with fakes.client(
        Route(by="order", on_context_window=target),
        **{"a": {"models": ["m", "org/huge"]}, "b": {"models": {"m": "m", "large": "large-at-b"}}},
    ) as client:
        assert (await client.chat("?")).attempts == 2
    assert {name: models(fake) for name, fake in fakes.by_name.items()} == sent


async def test_each_rule_applies_once_per_call() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=TOO_LONG))
    async with fakes.client(Route(on_context_window="large")) as client:
        with pytest.raises(headrace.StatusError) as caught:
            await client.chat("?")
        assert caught.value.attempts == 2
        with pytest.raises(headrace.StatusError) as caught:
            await client.chat("?", model="large")  # already the target of the rule
        assert caught.value.attempts == 1
    fakes = FakeEndpoints(a=FakeEndpoint(TOO_LONG, FILTERED, "at last"))
    route = Route(on_context_window="large", on_content_policy="m")
    async with fakes.client(route) as client:
        assert (await client.chat("?")).text == "at last"
    assert models(fakes.by_name["a"]) == ["m", "large", "m"]


async def test_a_reason_without_a_rule_is_not_redirected() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(FILTERED, FILTERED_ANSWER), b=FakeEndpoint())
    async with fakes.client(Route(by="order", on_context_window="b")) as client:
        with pytest.raises(headrace.StatusError):
            await client.chat("?")
        assert (await client.chat("?")).finish_reason == "content_filter"
    assert fakes.attempts == {"a": 2, "b": 0}


async def test_an_endpoint_without_the_call_s_model_is_not_used() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=TOO_LONG), b=FakeEndpoint())
    async with fakes.client(Route(on_context_window="b"), b={"models": ["other"]}) as client:
        with pytest.raises(headrace.StatusError):
            await client.chat("?")
    assert fakes.attempts == {"a": 1, "b": 0}


async def test_a_rule_applies_before_failover_to_other_endpoints() -> None:
    refused = Answer(status=403, body={"error": {"code": 403, "message": "Your input was flagged."}})
    fakes = FakeEndpoints(a=FakeEndpoint(refused, "from large"), b=FakeEndpoint())
    async with fakes.client(
        Route(by="order", on_content_policy="a/large"), a={"models": ["m", "large"]}, b={"models": ["m"]}
    ) as client:
        assert (await client.chat("?")).model == "large"
    assert fakes.attempts == {"a": 2, "b": 0}


async def test_the_target_model_is_retried_and_fails_over() -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    fakes = FakeEndpoints(a=FakeEndpoint(TOO_LONG, 503, 503), b=FakeEndpoint(503, "at last"))
    async with fakes.client(
        Route(by="order", on_context_window="large"), Retry(attempts=2, base=0), a={"models": ["m", "large"]}
    ) as client:
        reply = await client.chat("?")
    assert (reply.text, reply.attempts) == ("at last", 5)
    assert (models(fakes.by_name["a"]), models(fakes.by_name["b"])) == (
        ["m", "large", "large"],
        ["large", "large"],
    )


async def test_a_rule_applies_before_repair() -> None:
    Repair = pytest.importorskip("headrace_repair").Repair
    for step in (REFUSED, FILTERED_ANSWER):
        fakes = FakeEndpoints(a=FakeEndpoint(step, '{"value": 3}'))
        route = Route(on_refusal="large", on_content_policy="large")
        async with fakes.client(route, Repair()) as client:
            reply = await client.chat("?", answer=Number)
        assert (reply.answer, reply.attempts) == (Number(3), 2)
        assert models(fakes.by_name["a"]) == ["m", "large"]


async def test_a_rule_applies_to_a_stream_before_its_first_chunk() -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    fakes = FakeEndpoints(a=FakeEndpoint(TOO_LONG), b=FakeEndpoint("from large"))
    breaker, route = Breaker.classic(), Route(by="order", on_context_window="b/large")
    async with fakes.client(route, breaker) as client, client.stream("?") as stream:
        assert [chunk.text async for chunk in stream] == ["from", " large"]
    assert (route.in_flight("a"), route.in_flight("b")) == (0, 0)
    assert models(fakes.by_name["b"]) == ["large"]


def streamed(*deltas: dict[str, Any], reason: str) -> Answer:
    """Return a stream of these deltas with this finish reason."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    events = [b'data: {"choices":[%b]}\n\n' % msgspec.json.encode(choice) for choice in choices]
    return Answer(body=b"".join(events) + b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "refused",
    [
        streamed({"role": "assistant", "content": ""}, reason="content_filter"),
        streamed({"refusal": "I "}, {"refusal": "cannot."}, reason="stop"),
    ],
)
async def test_a_rule_applies_to_a_stream_without_a_chunk(refused: Answer) -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(refused, "from large"))
    route = Route(on_content_policy="large", on_refusal="large")
    async with fakes.client(route) as client, client.stream("?") as stream:
        assert [chunk.text async for chunk in stream] == ["from", " large"]
        assert stream.reply.model == "large"
        assert stream.reply.attempts == 2
    assert route.in_flight("a") == 0


async def test_no_rule_applies_to_a_stream_after_its_first_chunk() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(streamed({"content": "It all"}, reason="content_filter")))
    async with fakes.client(Route(on_content_policy="large")) as client, client.stream("?") as stream:
        assert [chunk.text async for chunk in stream] == ["It all"]
    assert stream.reply.finish_reason == "content_filter"
    assert fakes.attempts == {"a": 1}


REFUSED_EVENTS = streamed({"role": "assistant", "content": ""}, reason="content_filter").events("m")
TOO_LONG_BODY = b'{"error":{"message":"This model\'s maximum context length is 8 tokens.","code":400}}'


async def answer(stream: anyio.abc.SocketStream) -> None:
    """Answer as two models do: m refuses, with an error or in a stream; any other model answers."""
    async with stream:
        request = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                while not request.endswith(b"}"):
                    request += await stream.receive()
                is_m, is_stream = b'"model":"m"' in request, b'"stream":true' in request
                request, status, kind = (
                    b"",
                    b"200 OK",
                    b"text/event-stream" if is_stream else b"application/json",
                )
                if is_m and is_stream:
                    body = REFUSED_EVENTS
                elif is_m:
                    status, body = b"400 Bad Request", TOO_LONG_BODY
                else:
                    body = (
                        Answer("from large").events("large")
                        if is_stream
                        else Answer("from large").content("large")
                    )
                head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (
                    status,
                    kind,
                    len(body),
                )
                await stream.send(head + body)


async def test_rules_apply_over_sockets() -> None:
    route = Route(on_context_window="large", on_content_policy="large")
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/v1"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        async with Client(base_url=url, model="m", policies=[route]) as client:
            for _ in range(2):
                assert (await client.chat("?")).text == "from large"
                async with client.stream("?") as stream:
                    assert [chunk.text async for chunk in stream] == ["from", " large"]
                assert stream.reply.attempts == 2
        group.cancel_scope.cancel()


async def test_a_rule_applies_to_an_error_instead_of_the_first_chunk() -> None:
    event = b'data: {"error":{"message":"too long","code":"context_length_exceeded"}}\n\n'
    fakes = FakeEndpoints(a=FakeEndpoint(Answer(body=event), "from large"))
    async with fakes.client(Route(on_context_window="large")) as client, client.stream("?") as stream:
        assert [chunk.text async for chunk in stream] == ["from", " large"]
    assert models(fakes.by_name["a"]) == ["m", "large"]


async def test_a_redirected_call_releases_its_slot() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(otherwise=FILTERED_ANSWER), b=FakeEndpoint())
    route = Route(by="order", on_content_policy="b")
    async with fakes.client(route, limits={"a": 1, "b": 1}) as client:
        with anyio.fail_after(5):
            async with client.map(["?"] * 20) as outcomes:
                assert all([outcome.ok async for outcome in outcomes])
    assert (route.in_flight("a"), route.in_flight("b")) == (0, 0)


async def test_a_request_without_a_body_is_not_redirected() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(TOO_LONG))
    async with fakes.client(Route(on_context_window="large")) as client:
        with pytest.raises(headrace.StatusError):
            await client.models()
    assert fakes.attempts == {"a": 1}


def test_an_invalid_rule_is_an_error_when_the_client_is_made() -> None:
    endpoints = [
        Endpoint("http://a.test/v1", name="a", models=["small"]),
        Endpoint("http://b.test/v1", name="b", models=["large"]),
    ]
    for wrong in ("largo", "a/large", "c", ""):
        with pytest.raises(SettingsError, match=r"route: on_refusal=.*: must be the name"):
            Client(endpoints=endpoints, route={"on_refusal": wrong})
    for right in ("large", "b/large", "b"):
        client = Client(endpoints=endpoints, route={"on_refusal": right})
        assert "route" in [policy.name for policy in client.policies]
    one = Client(base_url="http://a.test/v1", route={"on_context_window": "large"})
    assert "route" in [policy.name for policy in one.policies]


async def test_an_invalid_rule_in_code_is_an_error_at_the_first_call() -> None:
    fakes = FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint())
    async with fakes.client(
        Route(on_refusal="largo"), a={"models": ["m"]}, b={"models": ["large"]}
    ) as client:
        with pytest.raises(SettingsError, match="did you mean 'large'"):
            await client.chat("?")
    assert fakes.attempts == {"a": 0, "b": 0}
