"""Responses over HTTP/2 in every valid form, and in some invalid ones."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.streams.tls import TLSAttribute
from tests.transports.http2.http2_server import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NEVER,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Peer,
    fields,
    frame,
    head,
    number,
    reset,
)

from headrace import ProtocolError, ReplyTooLarge, Timeout
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.transports.conftest import Connect, Peer, Serve, Trust

    from headrace import Client, Reply

pytestmark = pytest.mark.anyio

JSON = b'{"a":1}'
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
PADDING = b"\0" * 200


def answers_first(*frames: bytes) -> Callable[[Peer], Awaitable[None]]:
    """A script: answer the first request with these frames, all others with their targets."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0 and await talk.request():
            await talk.send(*frames)
        await talk.answer_all()

    return script


async def assert_sound(client: Client) -> None:
    """Later calls succeed, and get their own responses."""
    for name in ("b", "c"):
        assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
    assert client.in_flight == 0


def length(body: bytes) -> tuple[str, str]:
    return "content-length", str(len(body))


WHOLE: dict[str, Callable[[bytes], list[bytes]]] = {
    "length": lambda body: [head(1, length(body)), frame(DATA, END_STREAM, 1, body)],
    "no length": lambda body: [head(1), frame(DATA, END_STREAM, 1, body)],
    "a frame for each byte": lambda body: [
        head(1),
        *(frame(DATA, 0, 1, bytes([byte])) for byte in body),
        frame(DATA, END_STREAM, 1),
    ],
    "empty frames": lambda body: [
        head(1, length(body)),
        *[frame(DATA, 0, 1)] * 50,
        frame(DATA, END_STREAM, 1, body),
    ],
    "padding": lambda body: [
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\xc8" + fields((":status", "200")) + PADDING),
        *[frame(DATA, PADDED, 1, b"\xc8" + PADDING)] * 3,
        frame(DATA, END_STREAM | PADDED, 1, b"\xc8" + body + PADDING),
    ],
    "interim": lambda body: [
        head(1, status="100"),
        head(1, ("link", "</a>"), status="103"),
        *[head(1, status="102")] * 5,
        head(1, length(body)),
        frame(DATA, END_STREAM, 1, body),
    ],
    "trailers": lambda body: [
        head(1, length(body)),
        frame(DATA, 0, 1, body),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(("x-checksum", "1"), ("grpc-status", "0"))),
    ],
    "continuations": lambda body: [
        frame(HEADERS, 0, 1, fields((":status", "200"))[:5]),
        frame(CONTINUATION, 0, 1, fields((":status", "200"))[5:]),
        frame(CONTINUATION, 0, 1),
        frame(CONTINUATION, END_HEADERS, 1, fields(length(body))),
        frame(DATA, END_STREAM, 1, body),
    ],
    "unknown frames": lambda body: [
        frame(0xBB, 0xFF, 1, b"x" * 100),
        head(1),
        frame(0xA, 0, 0, b"\0\3a.bh3=1"),
        frame(PRIORITY, 0, 1, number(0) + b"\x10"),
        frame(DATA, END_STREAM, 1, body),
    ],
    "a reset after its end": lambda body: [
        head(1),
        frame(DATA, END_STREAM, 1, body),
        reset(1, 0),
        reset(1, 8),
    ],
    "frames of a stream that is over": lambda body: [
        head(1),
        frame(DATA, END_STREAM, 1, body),
        frame(WINDOW_UPDATE, 0, 1, number(5)),
        frame(DATA, END_STREAM, 1, body),
    ],
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("kind", WHOLE)
async def test_a_response_is_read_from_any_frames(
    serve: Serve, connect: Connect, kind: str, size: int, streamed: bool
) -> None:
    data = b"".join(WHOLE[kind](EVENTS if streamed else JSON))

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        await talk.request()
        for at in range(0, len(data), size):
            await talk.send(data[at : at + size])
            await anyio.lowlevel.checkpoint()
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        if streamed:
            async with client.stream("Hallo") as stream:
                assert [piece.text async for piece in stream] == ["a"]
            assert stream.reply.http_version == "HTTP/2"
        else:
            reply = await client.request("POST", "/a", {})
            assert reply.content == JSON
            assert reply.http_version == "HTTP/2"
            assert reply.attempts == 1
        await assert_sound(client)
        assert server.accepted == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("write", [None, 5.0])
async def test_requests_and_responses_may_have_no_body(
    serve: Serve, connect: Connect, method: str, write: float | None
) -> None:
    status, headers = ("200", [("content-length", "1000")]) if method == "HEAD" else ("204", [])
    async with serve(answers_first(head(1, *headers, status=status, end=True))) as server:
        async with connect(server, http2=True, timeout=Timeout(5, write=write)) as client:
            reply = await client.request(method, "/a")
            assert (reply.status, reply.content) == (int(status), b"")
            await assert_sound(client)
        assert server.requests[0].body == b""
        assert "content-length" not in server.requests[0].headers


async def test_compressed_responses_are_decoded(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        async for request in talk.requests():
            await talk.answer(request, gzip.compress(JSON), ("content-encoding", "gzip"))

    async with serve(script) as server, connect(server, http2=True) as client:
        assert (await client.request("POST", "/a", {})).body == {"a": 1}
        assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "frames",
    [
        [head(1, ("content-length", "1001"))],
        [head(1), *[frame(DATA, 0, 1, b"x" * 500)] * 3],
        [head(1), frame(DATA, END_STREAM, 1, b"x" * 1001)],
        [
            head(1, ("content-encoding", "gzip")),
            frame(DATA, END_STREAM, 1, gzip.compress(b"x" * 1001)),
        ],
    ],
    ids=["by its length", "without a length", "at its end", "compressed"],
)
async def test_a_response_over_the_limit_is_reset_and_the_connection_kept(
    serve: Serve, connect: Connect, frames: list[bytes]
) -> None:
    resets: list[dict[int, int]] = []

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        resets.append(talk.resets)
        await talk.request()
        await talk.send(*frames)
        await talk.answer_all()

    transport = NativeTransport(http2=True, max_response_bytes=1000)
    async with serve(script) as server, connect(server, transport=transport) as client:
        with pytest.raises(ReplyTooLarge, match="max_response_bytes=1000"):
            await client.request("POST", "/a", {})
        await assert_sound(client)
        assert server.accepted == 1
        if not any(sent[4] & END_STREAM for sent in frames):
            await server.until(lambda: resets == [{1: 8}])


MALFORMED = {
    "no status": [frame(HEADERS, END_HEADERS, 1, fields(("a", "b")))],
    "two": [frame(HEADERS, END_HEADERS, 1, fields((":status", "200"), (":status", "200")))],
    "late": [frame(HEADERS, END_HEADERS, 1, fields(("a", "b"), (":status", "200")))],
    "request": [frame(HEADERS, END_HEADERS, 1, fields((":status", "200"), (":path", "/")))],
    "no number": [head(1, status="abc")],
    "small": [head(1, status="099")],
    "long": [head(1, status="2000")],
    "switching": [head(1, status="101")],
    "uppercase": [head(1, ("X-A", "b"))],
    "connection": [head(1, ("connection", "close"))],
    "chunked": [head(1, ("transfer-encoding", "chunked"))],
    "upgrade": [head(1, ("upgrade", "h2c"))],
    "no name": [head(1, ("", "b"))],
    "line end": [head(1, ("a", "b\r\nc: d"))],
    "nul": [head(1, ("a", "\0"))],
    "two lengths": [head(1, ("content-length", "2"), ("content-length", "3"))],
    "no length": [head(1, ("content-length", "x"))],
    "negative": [head(1, ("content-length", "-1"))],
    "huge": [head(1, ("content-length", "9" * 30))],
    "short": [head(1, ("content-length", "10")), frame(DATA, END_STREAM, 1, b"{}")],
    "too much": [head(1, ("content-length", "1")), frame(DATA, END_STREAM, 1, b"{}")],
    "nothing": [head(1, ("content-length", "1"), end=True)],
    "second head": [head(1), head(1, end=True)],
    "trailers go on": [head(1), frame(HEADERS, END_HEADERS, 1, fields(("a", "b")))],
    "interim end": [head(1, status="100", end=True)],
}
"""Responses that violate HTTP, so that their stream is reset (RFC 9113, 8.1.1)."""

BROKEN = {
    "body first": [frame(DATA, 0, 1, b"x")],
    "not begun": [head(77)],
    "server's": [frame(DATA, 0, 2, b"x")],
    "push": [frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + fields((":method", "GET"), (":path", "/")))],
    "no window": [frame(WINDOW_UPDATE, 0, 0, number(0))],
    "overflow": [frame(WINDOW_UPDATE, 0, 0, number(NEVER))] * 2,
    "rubbish": [b"SSH-2.0-OpenSSH_9.6\r\n" + b"x" * 20],
    "http 1": [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"],
    "bad hpack": [frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff")],
    "between": [frame(HEADERS, 0, 1, fields((":status", "200"))), frame(DATA, 0, 1, b"x")],
    "alone": [frame(CONTINUATION, END_HEADERS, 1, b"")],
    "too long": [head(1), frame(DATA, 0, 1, b"x" * 20_000)],
    "too much padding": [head(1), frame(DATA, PADDED, 1, b"\xff" + b"x")],
    "reset of none": [reset(77, 8)],
    "short reset": [frame(RST_STREAM, 0, 1, b"x")],
    "settings": [frame(SETTINGS, 0, 0, b"x")],
    "window of 4 GB": [frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff")],
    "short ping": [frame(PING, 0, 0, b"x")],
}
"""Violations of the protocol that end the connection."""


@pytest.mark.parametrize("kind", MALFORMED)
async def test_a_malformed_response_fails_one_call(serve: Serve, connect: Connect, kind: str) -> None:
    resets: list[dict[int, int]] = []

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        resets.append(talk.resets)
        _, other = await talk.some(2)
        await talk.send(*MALFORMED[kind])
        await talk.until(lambda: 1 in talk.resets)
        await talk.answer(other)
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        async with anyio.create_task_group() as group:
            replies: list[Reply] = []

            async def expect_another() -> None:
                replies.append(await client.request("POST", "/other", {}))

            group.start_soon(expect_another)
            with pytest.raises(ProtocolError, match=r"violates HTTP/2 \(PROTOCOL_ERROR\)") as caught:
                await client.request("POST", "/a", {})
        assert caught.value.retryable
        assert [reply.body for reply in replies] == [{"target": "/v1/other"}]
        assert resets == [{1: 1}]
        await assert_sound(client)
        assert server.accepted == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_protocol_violation_ends_the_connection(
    serve: Serve, connect: Connect, kind: str, streamed: bool
) -> None:
    async with serve(answers_first(*BROKEN[kind])) as server, connect(server, http2=True) as client:
        with pytest.raises(ProtocolError) as caught:  # noqa: PT012
            if streamed:
                async with client.stream("Hallo") as stream:
                    await anext(stream)
            else:
                await client.request("POST", "/a", {})
        assert "HTTP/2" in str(caught.value)
        assert caught.value.retryable
        await server.until(lambda: server.open == 0)
        await assert_sound(client)
        assert server.accepted == 2


@pytest.mark.parametrize("frames", [MALFORMED["no status"], BROKEN["rubbish"]], ids=["answer", "protocol"])
async def test_after_a_violation_http1_is_used_if_allowed(
    serve: Serve, connect: Connect, trust: Trust, frames: list[bytes]
) -> None:
    trusting, context = trust("h2", "http/1.1")

    async def script(peer: Peer) -> None:
        if peer.stream.extra(TLSAttribute.alpn_protocol) == "h2":
            await answers_first(*frames)(peer)
        else:
            await peer.answer_all()

    transport = NativeTransport(ssl_context=trusting)
    async with serve(script, context) as server, connect(server, transport=transport) as client:
        with pytest.raises(ProtocolError):
            await client.request("POST", "/a", {})
        for _ in range(2):
            assert (await client.request("POST", "/b", {})).http_version == "HTTP/1.1"
