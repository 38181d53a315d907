"""Over HTTP/2 no error shows the key either, in its message or in its traceback's variables."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.transports.http2.http2_server import (
    DATA,
    END_STREAM,
    Http2Peer,
    answered,
    frame,
    goaway,
    head,
    reset,
)
from tests.transports.test_echoed_keys import ESCAPINGS, KEY, chat, failures, shown, texts_of

from headrace import CallError, HeadraceError, Timeout
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, Serve

    from headrace import Client

pytestmark = pytest.mark.anyio

HOWS = [
    "refused",
    "close",
    "reset",
    "rubbish",
    "cut",
    "stall",
    "large",
    "html",
    "status",
    "deaf",
    "goaway",
    "cancelled by the server",
    "refused stream",
    "http/1.1",
    "malformed",
    "flood",
    "half",
]


async def answer(peer: Peer, how: str) -> None:
    """Fail in this way, each time."""
    talk = await Http2Peer(peer, window=0 if how == "deaf" else None).begin()
    if how == "close":
        await talk.until(lambda: bool(talk.by_stream))
        return
    if how == "reset":
        await talk.until(lambda: bool(talk.by_stream))
        await peer.reset()
        return
    async for request in talk.requests():
        stream = request.stream
        frames = {
            "rubbish": b"SSH-2.0-x\r\n" + b"x" * 20,
            "cut": head(stream, ("content-length", "9")) + frame(DATA, END_STREAM, stream, b"{"),
            "large": head(stream, ("content-length", "9999")) + frame(DATA, 0, stream, b"{"),
            "html": answered(stream, f"<html>{KEY}</html>".encode()),
            "status": head(stream, status="500")
            + frame(DATA, END_STREAM, stream, f"Authorization: Bearer {KEY}".encode()),
            "goaway": goaway(stream, 11, f"no {KEY}".encode()),
            "cancelled by the server": reset(stream, 8),
            "refused stream": reset(stream, 7),
            "http/1.1": reset(stream, 13),
            "malformed": head(stream, ("X-Key", KEY)),
            "flood": frame(6, 0, 0, b"12345678") * 2000,
            "half": head(stream) + frame(DATA, 0, stream, f"data: {KEY}".encode()) + reset(stream, 2),
        }
        await talk.send(frames.get(how, b""))
        if how == "goaway":
            await talk.drained()
            return


async def errors(client: Client, text: str) -> list[HeadraceError]:
    found: list[HeadraceError] = []
    for streamed in (False, True):
        try:
            if not streamed:
                await client.chat(text)
            async with client.stream(text) as stream:
                async for _ in stream:
                    pass
        except CallError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("how", HOWS)
async def test_no_part_of_an_error_holds_the_key(
    serve: Serve, connect: Callable[..., Client], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.DEBUG, "headrace")

    async def script(peer: Peer) -> None:
        await answer(peer, how)

    async with serve(script) as server:
        url = "http://127.0.0.1:9/v1" if how == "refused" else server.url
        transport, text = NativeTransport(http2=True, max_response_bytes=1000), "x" * 5
        async with connect(
            server, base_url=url, api_key=KEY, transport=transport, timeout=Timeout(0.2)
        ) as client:
            with anyio.fail_after(5):
                found = await errors(client, text)
    assert len(found) == 2
    for error in found:
        assert not {(place, text) for place, text in texts_of(error) if shown(text)}, error
        assert KEY.encode() not in pickle.dumps(error)
    assert not shown(caplog.text)


ECHOES: dict[str, Callable[[int, str], bytes]] = {
    "status": lambda stream, text: head(stream, status=text[:20]),
    "name": lambda stream, text: head(stream, (text.lower(), "x"), end=True),
    "value": lambda stream, text: head(stream, ("transfer-encoding", text)),
    "encoding": lambda stream, text: (
        head(stream, ("content-encoding", text)) + frame(DATA, END_STREAM, stream, b"x")
    ),
    "length": lambda stream, text: head(stream, ("content-length", text)),
    "goaway": lambda stream, text: goaway(stream, 11, text.encode()),
    "goaway, at the limit": lambda stream, text: goaway(stream, 11, b"x" * 85 + text.encode()),
    "error": lambda stream, text: (
        head(stream, ("x-request-id", text), ("location", text), status="400")
        + frame(
            DATA, END_STREAM, stream, f'{{"error": {{"message": "bad {text}", "code": "{text}"}}}}'.encode()
        )
    ),
    "answer": lambda stream, text: answered(stream, chat(f"no {text}")),
    "rubbish": lambda stream, text: text.encode() * 3,
}


@pytest.mark.parametrize("where", ECHOES)
async def test_no_error_shows_a_key_that_the_server_repeats(
    serve: Serve, connect: Callable[..., Client], where: str
) -> None:
    escaping = next(iter(ESCAPINGS))

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        async for request in talk.requests():
            await talk.send(ECHOES[where](request.stream, ESCAPINGS[escaping](KEY)))
            if where.startswith("goaway"):
                await talk.drained()
                return

    async with (
        serve(script) as server,
        connect(server, api_key=KEY, transport=NativeTransport(http2=True), timeout=Timeout(5.0)) as client,
    ):
        for escaping in ESCAPINGS:
            found = await failures(client)
            assert found, "no error was checked"
            for error in found:
                leaks = {(place, text) for place, text in texts_of(error) if shown(text)}
                assert not leaks, (escaping, error)
