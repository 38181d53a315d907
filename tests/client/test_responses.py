"""`Client.responses`."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import Client, RequestError, Usage
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import endpoint_process

RESPONSE = {
    "object": "response",
    "model": "m-1",
    "error": None,
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Guten Tag"}]}],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}


@pytest.mark.anyio
async def test_a_response_is_requested_and_read() -> None:
    endpoint = FakeEndpoint(Answer(body=RESPONSE))
    async with endpoint.client() as client:
        reply = await client.responses("Hallo", instructions="Kurz.", max_output_tokens=9, id="7", deadline=9)
    assert (reply.text, reply.usage, reply.model) == ("Guten Tag", Usage(3, 2, 5), "m-1")
    (request,) = endpoint.attempts
    assert (request.method, request.path, request.id, request.deadline) == ("POST", "/responses", "7", 9)
    assert request.body == {
        "model": "fake-model",
        "input": "Hallo",
        "instructions": "Kurz.",
        "max_output_tokens": 9,
    }


@pytest.mark.anyio
async def test_the_old_name_respond_works_and_warns() -> None:
    endpoint = FakeEndpoint(Answer(body=RESPONSE))
    async with endpoint.client() as client:
        with pytest.warns(DeprecationWarning, match=r"use client\.responses"):
            reply = await client.respond("Hallo")
    assert reply.text == "Guten Tag"


@pytest.mark.anyio
async def test_input_items_and_options_are_sent(fake_endpoint: FakeEndpoint) -> None:
    items = [{"role": "user", "content": "Hallo"}]
    async with fake_endpoint.client() as client:
        await client.responses(
            iter(items), model="other", timeout=3.0, tags={"team": "a"}, extra_body={"top_k": 5}
        )
    (request,) = fake_endpoint.attempts
    assert request.body == {"model": "other", "input": items, "top_k": 5}
    assert (request.timeout, request.tags) == (3.0, {"team": "a"})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("input", "keywords", "message"),
    [
        ("Hallo", {"max_tokens": 1}, "responses() has no parameter 'max_tokens'; did you mean"),
        ("Hallo", {"stream": True}, "responses() has no parameter 'stream'"),
        ("Hallo", {"extra_body": {"stream": True}}, "stream"),
        ("Hallo", {"instructions": ["Kurz."]}, "instructions must be a string"),
        ("Hallo", {"timeout": 0}, "timeout"),
        ([], {}, "input"),
        (["Hallo"], {}, "input"),
        ({"role": "user"}, {}, "input"),
        (5, {}, "input"),
    ],
)
async def test_an_invalid_argument_raises_at_once(
    fake_endpoint: FakeEndpoint, input: Any, keywords: dict[str, Any], message: str
) -> None:
    async with fake_endpoint.client() as client:
        with pytest.raises(RequestError) as caught:
            await client.responses(input, **keywords)
    assert message in str(caught.value)
    assert fake_endpoint.attempts == []


@pytest.mark.anyio
async def test_responses_work_over_a_socket() -> None:
    async with (
        endpoint_process() as endpoint,
        Client(base_url=endpoint.base_url, model="m", policies=[]) as client,
    ):
        reply = await client.responses("Which of one of: red | blue", max_output_tokens=50)
        chat = await client.chat("Which of one of: red | blue")
    assert reply.text == chat.text
    assert reply.usage is not None
    assert chat.usage is not None
    assert reply.usage.total_tokens == chat.usage.total_tokens
    assert reply.body["status"] == "completed"
