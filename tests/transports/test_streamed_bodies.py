"""Streamed responses over real sockets, through each transport."""

from __future__ import annotations

import gzip
import ssl
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from headrace import (
    AuthenticationError,
    CallTimeout,
    IncompleteReply,
    ProtocolError,
    ReplyTooLarge,
    ServerError,
    Timeout,
)
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Connect, Peer, Serve

    from headrace import Client

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("transport", ["native", "httpx"])]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(text: str, finish: str = "null") -> bytes:
    return b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":%b}]}\n\n' % (
        text.encode(),
        finish.encode(),
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = chunk(event("Grüße")) + chunk(event(" aus") + event(" Bonn", '"stop"')) + chunk(DONE) + LAST


async def read(client: Client, **keywords: Any) -> str:
    async with client.stream("Hallo", **keywords) as stream:
        texts = [piece.text async for piece in stream]
    assert "".join(texts) == stream.reply.text
    return stream.reply.text


async def test_a_stream_asks_for_no_encoding_and_its_connection_is_reused(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(CHUNKED + WHOLE)

    async with serve(script) as server, connect(server, transport=transport) as client:
        for _ in range(3):
            assert await read(client) == "Grüße aus Bonn"
        assert server.accepted == 1
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert b'"stream":true' in server.requests[0].body


async def test_packets_split_anywhere_give_the_same_text(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            for at in range(len(CHUNKED + WHOLE)):
                await peer.send((CHUNKED + WHOLE)[at : at + 1])

    async with serve(script) as server, connect(server, transport=transport) as client:
        assert await read(client) == "Grüße aus Bonn"


async def test_a_part_is_available_before_the_next_is_sent(
    serve: Serve, connect: Connect, transport: str
) -> None:
    go_on = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(event("a")))
        await go_on.wait()
        await peer.send(chunk(event("b", '"stop"')) + chunk(DONE) + LAST)
        await peer.request()

    async with (
        serve(script) as server,
        connect(server, transport=transport) as client,
        client.stream("Hallo") as stream,
    ):
        assert (await anext(stream)).text == "a"
        go_on.set()
        assert [piece.text async for piece in stream] == ["b"]


async def test_a_body_may_end_with_the_connection(serve: Serve, connect: Connect, transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"\r\n" + event("a") + event("b", '"stop"'))
        await peer.close()

    async with serve(script) as server, connect(server, transport=transport) as client:
        assert await read(client) == "ab"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_lost_in_the_middle_is_incomplete(
    serve: Serve, connect: Connect, transport: str, how: str
) -> None:
    read_one = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(event("a")))
        await read_one.wait()
        await getattr(peer, how)()

    async with serve(script) as server, connect(server, transport=transport) as client:
        async with client.stream("Hallo") as stream:
            assert (await anext(stream)).text == "a"
            read_one.set()
            with pytest.raises(IncompleteReply) as caught:
                await anext(stream)
        assert caught.value.partial is not None
        assert caught.value.partial.text == "a"


async def test_a_silent_connection_is_a_stall_and_is_discarded(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(event("a")))
        await peer.request()

    async with serve(script) as server, connect(server, transport=transport) as client:
        async with client.stream("Hallo", timeout=Timeout(stall=0.05)) as stream:
            await anext(stream)
            with pytest.raises(CallTimeout, match="stopped sending") as caught:
                await anext(stream)
        assert caught.value.phase == "stall"
        await server.until(lambda: server.open == 0)


async def test_a_missing_head_is_a_total_timeout(serve: Serve, connect: Connect, transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.request()

    async with serve(script) as server, connect(server, transport=transport) as client:
        with pytest.raises(CallTimeout):
            await read(client, timeout=0.1)
        await server.until(lambda: server.open == 0)


async def test_leaving_early_discards_the_connection(serve: Serve, connect: Connect, transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(event("a") + event("b")))
        await peer.request()

    async with serve(script) as server, connect(server, transport=transport) as client:
        async with client.stream("Hallo") as stream:
            await anext(stream)
        await server.until(lambda: server.open == 0)
        assert client.in_flight == 0


async def test_a_connection_held_open_after_done_is_discarded_at_once(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(event("a")) + chunk(DONE))
        await peer.request()

    async with serve(script) as server, connect(server, transport=transport) as client:
        with anyio.fail_after(5):
            assert await read(client) == "a"
        await server.until(lambda: server.open == 0)


async def test_cancelled_streams_leave_nothing_open(
    serve: Serve, connect: Connect, transport: str, open_files: Callable[[], int]
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(CHUNKED + chunk(event("a")))

    async with serve(script) as server, connect(server, transport=transport, max_in_flight=10) as client:
        # The first round opens the transport's own files.
        before = 0
        for _ in range(5):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(read, client)
                    await server.until(lambda: server.open == 10)
                    scope.cancel()
            assert client.in_flight == 0
            await server.until(lambda: server.open == 0)
            before = before or open_files()
            assert open_files() <= before


async def test_an_error_is_read_as_a_whole_and_its_connection_kept(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b'{"error":{"message":"busy"}}', status="503 Busy")

    async with serve(script) as server, connect(server, transport=transport) as client:
        for _ in range(2):
            with pytest.raises(ServerError, match="busy"):
                await read(client)
        assert server.accepted == 1


PACKERS = {"gzip": 31, "x-gzip": 31, "deflate": 15, "Deflate": -15}
"""The result of zlib with these window bits."""


@pytest.mark.parametrize("encoding", PACKERS)
async def test_a_compressed_stream_is_decoded_part_by_part(
    serve: Serve, connect: Connect, transport: str, encoding: str
) -> None:
    go_on = anyio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            packer = zlib.compressobj(wbits=PACKERS[encoding])
            await peer.send(HEAD + b"Content-Encoding: %b\r\n" % encoding.encode())
            await peer.send(b"Transfer-Encoding: chunked\r\n\r\n")
            await peer.send(chunk(packer.compress(event("a")) + packer.flush(zlib.Z_SYNC_FLUSH)))
            await go_on.wait()
            await peer.send(chunk(packer.compress(event("b", '"stop"') + DONE) + packer.flush()) + LAST)

    async with serve(script) as server, connect(server, transport=transport) as client:
        async with client.stream("Hallo") as stream:
            assert (await anext(stream)).text == "a"
            go_on.set()
            assert [piece.text async for piece in stream] == ["b"]
        assert await read(client) == "ab"
        assert server.accepted == 1


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", "UTF-8", "none", "identity, utf-8"])
async def test_identity_and_unknown_encodings_are_read(
    serve: Serve, connect: Connect, transport: str, encoding: str
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(HEAD + b"Content-Encoding: %b\r\n" % encoding.encode())
            await peer.send(b"Transfer-Encoding: chunked\r\n\r\n" + WHOLE)

    async with serve(script) as server, connect(server, transport=transport) as client:
        assert await read(client) == "Grüße aus Bonn"
        assert await read(client) == "Grüße aus Bonn"
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", b"abc", "corrupt"),
        ("br", b"abc", "'br' was not requested"),
        ("gzip, gzip, gzip, gzip", b"", "4 "),
    ],
)
async def test_a_stream_with_an_unsupported_encoding_is_rejected(
    serve: Serve, connect: Connect, transport: str, encoding: str, body: bytes, message: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, f"Content-Encoding: {encoding}", "Content-Type: text/event-stream")
        await peer.request()

    async with serve(script) as server, connect(server, transport=transport) as client:
        with pytest.raises(ProtocolError, match=message):
            await read(client)
        await server.until(lambda: server.open == 0)


async def test_a_truncated_compressed_stream_is_incomplete(
    serve: Serve, connect: Connect, transport: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        packer = zlib.compressobj(wbits=31)
        cut_short = packer.compress(event("a")) + packer.flush(zlib.Z_SYNC_FLUSH)
        await peer.answer(cut_short, "Content-Encoding: gzip", "Content-Type: text/event-stream")

    async with (
        serve(script) as server,
        connect(server, transport=transport) as client,
        client.stream("Hallo") as stream,
    ):
        assert (await anext(stream)).text == "a"
        with pytest.raises(IncompleteReply):
            await anext(stream)


async def test_a_decompression_bomb_in_a_stream_needs_little_memory(
    serve: Serve, connect: Connect, transport: str
) -> None:
    bomb = gzip.compress(event("a") + b": " + bytes(50_000_000))

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(bomb, "Content-Encoding: gzip", "Content-Type: text/event-stream")

    own: Any = {"native": NativeTransport, "httpx": HttpxTransport}[transport](max_response_bytes=1_000_000)
    async with serve(script) as server, connect(server, transport=own) as client:
        tracemalloc.start()
        with pytest.raises(ReplyTooLarge, match="max_response_bytes"):
            await read(client)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("encoding", ["br", "gzip"])
async def test_an_error_status_counts_if_its_body_cannot_be_decoded(
    serve: Serve, connect: Connect, transport: str, encoding: str
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"\x1b", f"Content-Encoding: {encoding}", status="401 No")

    async with serve(script) as server, connect(server, transport=transport) as client:
        with pytest.raises(AuthenticationError):
            await read(client)


async def test_streams_work_over_tls(serve: Serve, connect: Connect, transport: str) -> None:
    import httpx

    authority = trustme.CA()
    server_context, context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    authority.configure_trust(context)
    own = (
        NativeTransport(ssl_context=context)
        if transport == "native"
        else HttpxTransport(httpx.AsyncClient(verify=context, trust_env=False))
    )

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(CHUNKED + WHOLE)

    async with serve(script, server_context) as server, connect(server, transport=own) as client:
        for _ in range(2):
            assert await read(client) == "Grüße aus Bonn"
        assert server.accepted == 1


EVENTS_SENT = event("Grüße") + event(" aus Bonn", '"stop"')
UNENDED = EVENTS_SENT.rstrip(b"\n")


@pytest.mark.parametrize(
    ("kind", "framing"),
    [
        ("text/event-stream", "length"),
        ("Text/Event-Stream", "chunked"),
        ("application/json", "chunked"),
        ("text/plain", "close"),
    ],
)
async def test_the_last_event_counts_without_its_blank_line_for_any_framing(
    serve: Serve, connect: Connect, transport: str, kind: str, framing: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n" % kind.encode()
        if framing == "chunked":
            await peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(UNENDED) + LAST)
        elif framing == "length":
            await peer.send(head + b"Content-Length: %d\r\n\r\n" % len(UNENDED) + UNENDED)
        else:
            await peer.send(head + b"Connection: close\r\n\r\n" + UNENDED)
            await peer.close()

    async with serve(script) as server, connect(server, transport=transport) as client:
        assert await read(client) == "Grüße aus Bonn"


@pytest.mark.parametrize("at", [30, 60, len(EVENTS_SENT) // 2, len(UNENDED) - 1])
async def test_a_body_closed_in_the_middle_of_an_event_is_incomplete(
    serve: Serve, connect: Connect, transport: str, at: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Connection: close\r\n\r\n" + UNENDED[:at])
        await peer.close()

    async with serve(script) as server, connect(server, transport=transport) as client:
        with pytest.raises(IncompleteReply):
            await read(client)
