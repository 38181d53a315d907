"""Searches everything attached to a network error for the key, the variables of its traceback included."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from headrace import CallError, Timeout
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, Serve

    from headrace import Client

CANARY = "sk-canary-f00dfeed"
HOWS = ["refused", "close", "reset", "rubbish", "cut", "stall", "large", "html", "status", "deaf"]
OK = b"HTTP/1.1 200 OK\r\n"

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),  # see test_all_transports.py
]


async def answer(peer: Peer, how: str) -> None:
    """Fail in this way."""
    if how == "deaf":
        await peer.read_slowly()
    await peer.request()
    if how == "reset":
        await peer.reset()
    elif how == "rubbish":
        await peer.send(b"SSH-2.0-x\r\n")
    elif how == "cut":
        await peer.send(OK + b"Content-Length: 9\r\n\r\n{")
    elif how == "large":
        await peer.send(OK + b"Content-Length: 9999\r\n\r\n{")
    elif how == "html":
        await peer.answer(f"<html>{CANARY}</html>".encode())
    elif how == "status":
        await peer.answer(f"Authorization: Bearer {CANARY}".encode(), status="500 Oh")
    elif how == "stall":
        await peer.request()


@pytest.mark.parametrize("kind", [NativeTransport, HttpxTransport])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("how", HOWS)  # does not read: 8 MB are more than the sockets' buffers hold
async def test_no_variable_of_a_traceback_holds_the_key(
    serve: Serve,
    connect: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
    kind: Any,
    how: str,
    streamed: bool,
) -> None:
    caplog.set_level(logging.DEBUG, "headrace")

    async def script(peer: Peer) -> None:
        await answer(peer, how)

    async with serve(script) as server:
        url = "http://127.0.0.1:9/v1" if how == "refused" else server.url
        transport, text = kind(max_response_bytes=1000), "x" * (8_000_000 if how == "deaf" else 5)
        async with connect(
            server, base_url=url, api_key=CANARY, transport=transport, timeout=Timeout(0.1)
        ) as client:
            with pytest.raises(CallError) as caught:  # noqa: PT012
                if not streamed:
                    await client.chat(text)
                async with client.stream(text) as stream:
                    async for _ in stream:
                        pass
    error = caught.value
    ours = pickle.dumps(error) + repr(error).encode() + caplog.text.encode()
    assert CANARY.encode() not in ours
    frames = [
        (frame.filename, name)
        for each in _chain(traceback.TracebackException.from_exception(error, capture_locals=True))
        for frame in each.stack
        if frame.filename != __file__
        for name, value in (frame.locals or {}).items()
        if CANARY in value
    ]
    assert not frames


def _chain(error: traceback.TracebackException | None) -> list[traceback.TracebackException]:
    return [] if error is None else [error, *_chain(error.__cause__), *_chain(error.__context__)]
