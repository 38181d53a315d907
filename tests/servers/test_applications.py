"""The embedded endpoint's application on two HTTP/2 servers: hypercorn and granian."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace import Client, RequestError, StatusError

Connect = Callable[..., Client]
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["hypercorn", "granian"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of one of them."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(("http2", "spoken"), [("auto", "HTTP/2"), (False, "HTTP/1.1")])
async def test_a_map_of_300_calls_succeeds(url: str, connect: Connect, http2: object, spoken: str) -> None:
    prompts = (f"Frage {number}" for number in range(300))
    async with connect(url, http2=http2) as client, client.map(prompts, ordered=True) as outcomes:
        replies = [outcome.unwrap() async for outcome in outcomes]
    assert all(f"Frage {number}" in reply.text for number, reply in enumerate(replies))
    assert {reply.http_version for reply in replies} == {spoken}


async def test_whole_and_streamed_replies_are_the_same(url: str, connect: Connect) -> None:
    async with connect(url, http2=True) as client:
        whole = await client.chat("Hallo")
        for _ in range(3):
            async with client.stream("Hallo") as stream:
                text = "".join([piece.text async for piece in stream])
            assert text == whole.text
            assert stream.reply.http_version == "HTTP/2"
        async with client.stream("Hallo") as stream:
            async for _ in stream:
                break  # left early: only its own stream is reset
        assert (await client.chat("Hallo")).text == whole.text


async def test_megabytes_are_sent_beside_small_requests(url: str, connect: Connect) -> None:
    prompts = ["x" * 1_000_000 if number % 10 == 0 else "Hallo" for number in range(30)]
    async with connect(url, http2=True) as client, client.map(prompts, ordered=True) as outcomes:
        counts = [(outcome.unwrap().usage, outcome.index) async for outcome in outcomes]
    assert all(((usage and usage.prompt_tokens) or 0) > 200_000 for usage, index in counts if index % 10 == 0)


async def test_an_error_status_leaves_the_connection_usable(url: str, connect: Connect) -> None:
    async with connect(url, http2=True) as client:
        for _ in range(2):
            with pytest.raises(StatusError) as caught:
                await client.request("GET", "/nothing")
            assert caught.value.status == 404
            with pytest.raises((StatusError, RequestError)) as caught_too:
                await client.request("POST", "/chat/completions", {"messages": "none"})
            assert "messages" in str(caught_too.value)
        assert (await client.chat("Hallo")).http_version == "HTTP/2"
