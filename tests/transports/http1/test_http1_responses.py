"""How the native transport reads HTTP/1.1 responses from real sockets: framing, encodings, sizes."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from headrace import Client, Endpoint, IncompleteReply, ProtocolError, ReplyTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, Serve

    Connect = Callable[..., Client]

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (OK + b"Content-Length: 7\r\n\r\n" + b'{"a":1}', True),
        (
            OK + b'Transfer-Encoding: chunked\r\n\r\n2\r\n{"\r\n5;ext=1\r\na":1}\r\n0\r\nTrailer: x\r\n\r\n',
            True,
        ),
        (OK + b'\r\n{"a":1}', False),
        (OK + b'Connection: close\r\nContent-Length: 7\r\n\r\n{"a":1}', False),
        (b'HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}', False),
        (b'HTTP/1.0 200 OK\r\n\r\n{"a":1}', False),
        (b'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 7\r\n\r\n{"a":1}', True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b'Content-Length: 7\r\n\r\n{"a":1}', True),
        (
            b"HTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n"
            + OK
            + b'Content-Length: 7\r\n\r\n{"a":1}',
            True,
        ),
        (b'HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n{"a":1}', True),
        (OK + b'Upgrade: h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 7\r\n\r\n{"a":1}', True),
    ],
    ids=[
        "content-length",
        "chunked",
        "read to close",
        "connection: close",
        "http/1.0",
        "http/1.0 read to close",
        "http/1.0 keep-alive",
        "100 first",
        "102 and 103 first",
        "no reason",
        "upgrade offered",
    ],
)
async def test_bodies_are_framed_correctly(serve: Serve, connect: Connect, answer: bytes, kept: bool) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer)
            if not kept:
                return

    async with serve(script) as server, connect(server) as client:
        for _ in range(2):
            reply = await client.request("GET", "/a")
            assert (reply.status, reply.body) == (200, {"a": 1})
        assert server.accepted == (1 if kept else 2)


async def test_no_content_and_the_response_to_head_have_no_body(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if seen.method == "HEAD":
                await peer.send(
                    OK + b"Content-Length: 1000\r\nContent-Encoding: gzip\r\nContent-Type: x/y\r\n\r\n"
                )
            else:
                await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serve(script) as server, connect(server) as client:
        for method, status in (("DELETE", 204), ("HEAD", 200), ("DELETE", 204)):
            reply = await client.request(method, "/a")
            assert (reply.status, reply.content) == (status, b"")
        assert server.per_connection == {0: 2, 1: 1} or server.per_connection == {0: 3}


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("GZIP", gzip.compress),
        ("gzip, deflate", lambda data: zlib.compress(gzip.compress(data))),
        ("identity", bytes),
    ],
    ids=["gzip", "x-gzip", "zlib", "raw deflate", "case", "stacked", "identity"],
)
async def test_content_encodings_are_decoded(
    serve: Serve, connect: Connect, encoding: str, encode: Any
) -> None:
    body = b'{"text":"' + b"wort " * 40_000 + b'"}'

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(encode(body), f"Content-Encoding: {encoding}")

    async with serve(script) as server, connect(server) as client:
        assert (await client.request("GET", "/a")).content == body
        assert (await client.request("GET", "/a")).content == body
        assert server.accepted == 1


async def test_bodies_of_megabytes_go_both_ways(serve: Serve, connect: Connect) -> None:
    text = "ä" * 2_000_000

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            await peer.answer(seen.body)

    async with serve(script) as server, connect(server) as client:
        assert (await client.request("POST", "/a", {"text": text})).body["text"] == text
        assert server.accepted == 1


LIMIT = 100_000


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 100001\r\n\r\n",
        OK + b"Content-Length: 99999999999\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10\r\n0123456789abcdef\r\n" * 6251,
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * 100_001,
        OK + b"\r\n" + b"x" * 100_001,
    ],
    ids=["content-length", "huge content-length", "chunks", "one chunk", "read to close"],
)
async def test_a_response_over_the_limit_is_rejected_early(
    serve: Serve, connect: Connect, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.answer_all()
        await peer.request()
        await peer.send(answer)
        await peer.request()

    async with serve(script) as server, connect(server, max_response_bytes=LIMIT) as client:
        with pytest.raises(ReplyTooLarge, match="max_response_bytes"):
            await client.request("GET", "/a")
        assert (await client.request("GET", "/b")).body == {"target": "/v1/b"}
        await server.until(lambda: server.open == 1)


async def test_a_response_of_exactly_the_limit_is_accepted(serve: Serve, connect: Connect) -> None:
    body = b'"' + b"x" * (LIMIT - 2) + b'"'

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(body)
            await peer.request()
            await peer.answer(gzip.compress(body), "Content-Encoding: gzip")

    async with serve(script) as server, connect(server, max_response_bytes=LIMIT) as client:
        assert (await client.request("GET", "/a")).content == body
        assert (await client.request("GET", "/b")).content == body


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("gzip", lambda data: gzip.compress(data[:1_000_000]) * (len(data) // 1_000_000)),
    ],
    ids=["gzip", "deflate", "stacked", "members"],
)
async def test_a_decompression_bomb_needs_little_memory(
    serve: Serve, connect: Connect, encoding: str, encode: Any
) -> None:
    bomb = encode(bytes(50_000_000))
    assert len(bomb) < 2_000_000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(bomb, f"Content-Encoding: {encoding}")

    async with serve(script) as server, connect(server, max_response_bytes=2_000_000) as client:
        tracemalloc.start()
        with pytest.raises(ReplyTooLarge, match="max_response_bytes"):
            await client.request("GET", "/a")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "error"),
    [
        ("gzip", gzip.compress(b"{}" * 100)[:-9], IncompleteReply),
        ("deflate", zlib.compress(b"{}" * 100)[:-5], IncompleteReply),
        ("gzip", b"{}", ProtocolError),
        ("gzip", gzip.compress(b"{}")[:-4] + b"xxxx", ProtocolError),
        ("br", b"{}", ProtocolError),
        ("gzip, gzip, gzip, gzip", b"{}", ProtocolError),
    ],
    ids=["gzip cut", "deflate cut", "no gzip", "wrong checksum", "not offered", "too many"],
)
async def test_corrupt_or_unsupported_encodings_are_typed_errors(
    serve: Serve, connect: Connect, encoding: str, body: bytes, error: type[ProtocolError]
) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if seen.target == "/v1/a":
                await peer.answer(body, f"Content-Encoding: {encoding}")
            else:
                await peer.answer()

    async with serve(script) as server, connect(server) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.request("GET", "/a")
        assert type(caught.value) is error
        assert (await client.request("GET", "/b")).body == {}


@pytest.mark.parametrize("transport", ["native", "httpx"])
async def test_an_endpoints_key_header_query_and_path_are_sent(serve: Serve, transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"choices":[{"message":{"content":"!"},"finish_reason":"stop"}]}')

    async with serve(script) as server:
        endpoint = Endpoint(
            server.url.removesuffix("/v1") + "/openai",
            "sk-azure",
            {"X-Team": "shop"},
            models={"gpt": "mine"},
            path="/deployments/{model}{path}",
            query={"api-version": "2024-10-21"},
            key_header="api-key",
        )
        async with Client(endpoints=[endpoint], policies=[], model="gpt", transport=transport) as client:
            await client.chat("?")
    (seen,) = server.requests
    assert seen.target == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert (seen.headers["api-key"], seen.headers["x-team"]) == ("sk-azure", "shop")
    assert "authorization" not in seen.headers
    assert b'"model":"mine"' in seen.body
