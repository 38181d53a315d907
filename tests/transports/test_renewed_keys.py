"""Keys that change, in the requests of both transports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from headrace import Client, Endpoint, Request, RequestError
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),  # see test_all_transports.py
]


@pytest.mark.parametrize("kind", [NativeTransport, HttpxTransport])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("key_header", [None, "Api-Key"])
async def test_each_request_carries_the_current_key(
    serve: Serve, connect: Callable[..., Client], kind: Any, streamed: bool, key_header: str | None
) -> None:
    valid = "key-1-of-the-hour"
    header, prefix = ("authorization", "Bearer ") if key_header is None else ("api-key", "")

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if seen.headers[header] != prefix + valid:
                await peer.answer(b'{"error":{"message":"expired"}}', status="401 Unauthorized")
            else:
                await peer.answer(b'{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}')

    async with serve(script) as server:
        endpoint = Endpoint(server.url, lambda: valid, key_header=key_header)
        client = connect(server, base_url=None, endpoints=[endpoint], transport=kind())
        async with client:

            async def ask() -> None:
                if not streamed:
                    await client.chat("x", tags={})
                    return
                async with client.stream("x") as stream:
                    assert "".join([piece.text async for piece in stream]) == "ok"

            await ask()
            await ask()
            valid = "key-2-of-the-hour"
            await ask()
            await ask()
    carried = [seen.headers[header].removeprefix(prefix)[:5] for seen in server.requests]
    assert carried == ["key-1", "key-1", "key-1", "key-2", "key-2"]
    assert {seen.connection for seen in server.requests} == {0}


@pytest.mark.parametrize("kind", [NativeTransport, HttpxTransport])
@pytest.mark.parametrize("headers", [("X-A", "1\r\nX-B: 2"), ("X A", "1"), ("Host", "x"), ("X-A", "ü")])
async def test_invalid_headers_of_a_request_are_an_error_before_it_is_sent(
    serve: Serve, connect: Callable[..., Client], kind: Any, headers: tuple[str, str]
) -> None:
    async with serve() as server, connect(server, transport=kind()) as client:
        request = Request({"messages": []}, headers=(headers,))
        async with client.map([request]) as outcomes:
            errors = [outcome.error async for outcome in outcomes]
    assert [type(error) for error in errors] == [RequestError]
    assert not server.requests
