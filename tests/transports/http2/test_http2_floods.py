"""Floods that an HTTP/2 server may send: each ends its connection with a typed error, in little memory.

They are named by the CVEs of the implementations that were vulnerable to them.
"""

from __future__ import annotations

import gc
import struct
import tracemalloc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.transports.http2.http2_server import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PADDED,
    PING,
    PUSH_PROMISE,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Peer,
    answered,
    fields,
    frame,
    head,
    number,
    reset,
)

from headrace import CallError, CallTimeout, ConnectError, ProtocolError, ReplyTooLarge, Timeout
from headrace.transports.incoming_response import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from tests.transports.conftest import Connect, Peer, Serve


pytestmark = pytest.mark.anyio

MOST = 40 * 1024 * 1024
"""Bytes of a flood after which the test fails: nothing stops it."""

MEMORY = 16 * 1024 * 1024
"""Bytes of memory that any flood may use."""

BEGUN = frame(HEADERS, 0, 1, fields((":status", "200")))
LONG = fields(*[("a", "b" * 200)] * 70)
ENTRY = b"\x40\1a\x7f\xa1\x1e" + b"v" * 4000
"""A field of 4,000 bytes that the table keeps, so that one byte (0xbe) refers to it."""

FLOODS: dict[str, tuple[bytes, bytes]] = {
    # what is sent once, and what is sent repeatedly
    "CVE-2024-27316: CONTINUATION": (BEGUN, frame(CONTINUATION, 0, 1, LONG)),
    "CVE-2024-27983: CONTINUATION, and names of no length": (BEGUN, frame(CONTINUATION, 0, 1, b"\0\0\0")),
    "CVE-2024-30255: CONTINUATION, empty": (BEGUN, frame(CONTINUATION, 0, 1)),
    "CVE-2019-9512: PING": (b"", frame(PING, 0, 0, b"12345678")),
    "CVE-2019-9512: PING, answers": (b"", frame(PING, ACK, 0, b"12345678")),
    "CVE-2019-9515: SETTINGS": (b"", frame(SETTINGS, 0, 0)),
    "CVE-2019-9515: SETTINGS, with values": (b"", frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 70_000) * 30)),
    "CVE-2019-9515: SETTINGS, answers": (b"", frame(SETTINGS, ACK, 0)),
    "CVE-2019-9518: empty DATA": (head(1), frame(DATA, 0, 1)),
    "CVE-2019-9518: DATA of padding": (head(1), frame(DATA, PADDED, 1, b"\5" + b"\0" * 5)),
    "CVE-2019-9518: interim answers": (b"", head(1, status="103")),
    "CVE-2019-9513: PRIORITY": (b"", frame(2, 0, 1, b"\0\0\0\0\x10")),
    "CVE-2019-9511: windows": (b"", frame(WINDOW_UPDATE, 0, 1, number(1))),
    "CVE-2019-9511: windows of the connection": (b"", frame(WINDOW_UPDATE, 0, 0, number(1))),
    "CVE-2023-44487: resets of what is over": (answered(1), reset(1, 8)),
    "CVE-2025-8671: provoked resets": (b"", frame(WINDOW_UPDATE, 0, 1, number(0))),
    "frames of no known kind": (b"", frame(0xBB, 0, 1, b"x")),
    "other origins": (b"", frame(0xC, 0, 0, b"\0\3abc")),
    "other services": (b"", frame(0xA, 0, 0, b"\0\3abcfoo")),
}


async def flood(peer: Peer, once: bytes, again: bytes) -> None:
    """Send this for as long as the client accepts it."""
    talk = await Http2Peer(peer).begin()
    await talk.request()
    await talk.send(once)
    data = again * max(1, 8000 // len(again))
    for _ in range(MOST // len(data)):
        await peer.send(data)
        await anyio.lowlevel.checkpoint()
    raise AssertionError("nothing ended it")


@pytest.fixture
def little_memory() -> Iterator[None]:
    gc.collect()
    tracemalloc.start(1)
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_its_connection(
    serve: Serve, connect: Connect, little_memory: None, kind: str
) -> None:
    once, again = FLOODS[kind]

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await flood(peer, once, again)
        else:
            await (await Http2Peer(peer).begin()).answer_all()

    async with serve(script) as server, connect(server, http2=True, timeout=30.0) as client:
        if "is over" in kind:
            await client.request("POST", "/a", {})
        else:
            with pytest.raises(ProtocolError, match="HTTP/2"):
                await client.request("POST", "/a", {})
        await server.until(lambda: server.open == 0)
        assert (await client.request("POST", "/b", {})).body == {"target": "/v1/b"}
        assert client.in_flight == 0


HEADS: dict[str, list[bytes]] = {
    # CVE-2016-6581: few bytes that expand to many
    "HPACK bomb": [frame(HEADERS, END_HEADERS, 1, fields((":status", "200")) + ENTRY + b"\xbe" * 10_000)],
    "HPACK table": [frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\xff\x7f" + fields((":status", "200")))],
    # CVE-2019-9516: fields without bytes that need memory
    "names of no length": [head(1, *[("", "")] * 4000)],
    "values of no length": [head(1, *[("a", "")] * 3000)],
    "over the limit": [
        BEGUN,
        *[frame(CONTINUATION, 0, 1, fields(("a", "b" * 16_000)))] * (MAX_HEAD_BYTES // 16_000),
        frame(CONTINUATION, END_HEADERS, 1, fields(("a", "b" * 16_000))),
    ],
    "pushed though push is off": [
        frame(
            PUSH_PROMISE,
            END_HEADERS,
            1,
            number(2)
            + fields((":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")),
        )
        + head(2)
        + frame(DATA, 0, 2, b"x" * 10_000)
    ],
}


@pytest.mark.parametrize("kind", HEADS)
async def test_a_head_that_needs_too_much_memory_is_rejected(
    serve: Serve, connect: Connect, little_memory: None, kind: str
) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            await talk.request()
            await talk.send(*HEADS[kind])
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        with pytest.raises((ProtocolError, ReplyTooLarge), match="HTTP/2"):
            await client.request("POST", "/a", {})
        assert (await client.request("POST", "/b", {})).body == {"target": "/v1/b"}


async def test_rapid_resets_end_one_call_each(serve: Serve, connect: Connect, little_memory: None) -> None:
    """CVE-2023-44487 in the other direction: a reset ends only its own call, and costs nothing else."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        async for request in talk.requests():
            if request.target.endswith("/last"):
                await talk.answer(request)
            else:
                talk.h2.reset_stream(request.stream, 8)
                await talk.send(reset(request.stream, 8) * 9)

    async with serve(script) as server, connect(server, http2=True) as client:
        for _ in range(300):
            with pytest.raises(ConnectError, match="CANCEL"):
                await client.request("POST", "/a", {})
        assert (await client.request("POST", "/last", {})).body == {"target": "/v1/last"}
        assert server.accepted == 1


@pytest.mark.parametrize("window", [0, 1])
@pytest.mark.parametrize(("timeout", "phase"), [(Timeout(5, write=0.15), "write"), (Timeout(0.15), "total")])
async def test_a_window_that_stays_closed_causes_a_timeout(
    serve: Serve, connect: Connect, little_memory: None, window: int, timeout: Timeout, phase: str
) -> None:
    """CVE-2019-9517 and CVE-2019-9511 in the other direction."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer, window=window, accepts=False).begin()
        async for request in talk.requests():
            await talk.answer(request)

    async with serve(script) as server, connect(server, http2=True) as client:
        with anyio.fail_after(3), pytest.raises(CallTimeout) as caught:
            await client.request("POST", "/a", {"text": "x" * 1_000_000}, timeout=timeout)
        assert caught.value.phase == phase
        reply = await client.request("GET", "/b")
        assert reply.body == {"target": "/v1/b"}
        assert server.accepted == 1


async def test_a_flood_between_responses_is_stopped(serve: Serve, connect: Connect) -> None:
    """While a response continues, the attempt's own limits bound such frames."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        await talk.request()
        await talk.send(head(1))
        while True:
            await talk.send(frame(DATA, 0, 1, b"x"), frame(PING, 0, 0, b"12345678") * 100)
            await anyio.sleep(0.001)

    async with serve(script) as server, connect(server, http2=True) as client:
        with anyio.fail_after(3), pytest.raises(CallError) as caught:
            await client.request("POST", "/a", {}, timeout=0.2)
        assert isinstance(caught.value, CallTimeout)
