"""What all network transports have in common: the native one, and clients of httpx and httpx2."""

from __future__ import annotations

import gzip
import ssl
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest

from headrace import (
    AuthenticationError,
    CallTimeout,
    Client,
    ConnectError,
    IncompleteReply,
    ProtocolError,
    RateLimited,
    ReplyTooLarge,
    ServerError,
    StatusError,
    Timeout,
    TLSError,
)
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, RawServer, Serve

    from headrace import Transport

    Open = Callable[..., Client]

pytestmark = [
    pytest.mark.anyio,
    # httpx does not close its own generators if a body is not read or written to its end; trio complains.
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
]

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 100_000
CONTEXT = ssl.create_default_context()  # made once, because it takes longer than a test


@pytest.fixture(params=["native", "httpx", "httpx's client", "httpx2's client"])
def transport(request: pytest.FixtureRequest) -> Transport:
    if request.param == "native":
        return NativeTransport(max_response_bytes=LIMIT)
    client: Any = {"httpx's client": httpx.AsyncClient, "httpx2's client": httpx2.AsyncClient}.get(
        request.param
    )
    return HttpxTransport(client and client(), max_response_bytes=LIMIT)


@pytest.fixture
def open_client(connect: Open, transport: Transport) -> Open:
    """A client of a server over the given transport."""

    def open_client(server: RawServer, **keywords: Any) -> Client:
        return connect(server, transport=transport, **keywords)

    return open_client


async def test_a_request_gets_its_response(serve: Serve, open_client: Open) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b'{"a":"\xc3\xa4"}', "X-Request-Id: req-7", "Set-Cookie: a=b")

    async with serve(script) as server, open_client(server, api_key="sk-test") as client:
        reply = await client.request("POST", "/x", {"input": "größe"})
        assert (reply.status, reply.body, reply.request_id) == (200, {"a": "ä"}, "req-7")
        await client.request("GET", "/models?limit=3")
        assert server.accepted == 1
    post, get = server.requests
    assert (post.method, post.target) == ("POST", "/v1/x")
    assert post.body == '{"model":"m","input":"größe"}'.encode()
    assert post.headers["authorization"] == "Bearer sk-test"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["accept-encoding"] == "gzip, deflate"
    assert post.headers["user-agent"].startswith("headrace/")
    assert post.headers["host"] == f"127.0.0.1:{server.port}"
    assert (get.method, get.target, get.body) == ("GET", "/v1/models?limit=3", b"")


async def test_an_error_status_is_not_a_transport_error(serve: Serve, open_client: Open) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b'{"error":{"message":"slow"}}', "Retry-After: 7", status="429 Too Many")

    async with serve(script) as server, open_client(server) as client:
        for _ in range(2):
            with pytest.raises(RateLimited, match="slow") as caught:
                await client.request("POST", "/a", {})
            assert caught.value.headers is not None
            assert caught.value.headers["retry-after"] == "7"
        assert server.accepted == 1


async def test_a_redirect_is_not_followed(serve: Serve, open_client: Open) -> None:
    async with serve() as other:

        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.answer(b"", f"Location: {other.url}", status="307 Temporary Redirect")

        async with serve(script) as server, open_client(server, api_key="sk-test") as client:
            with pytest.raises(StatusError, match="not followed"):
                await client.request("POST", "/a", {})
        assert other.accepted == 0


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("GZIP", gzip.compress),
        ("gzip, deflate", lambda data: zlib.compress(gzip.compress(data))),
        ("identity", bytes),
    ],
    ids=["gzip", "zlib", "raw deflate", "case", "stacked", "identity"],
)
async def test_content_encodings_are_decoded(
    serve: Serve, open_client: Open, encoding: str, encode: Any
) -> None:
    body = b'{"text":"' + b"wort " * 10_000 + b'"}'

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(encode(body), f"Content-Encoding: {encoding}")

    async with serve(script) as server, open_client(server) as client:
        for _ in range(2):
            assert (await client.request("GET", "/a")).content == body
        assert server.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 100001\r\n\r\n" + b"x" * 100_001,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10\r\n0123456789abcdef\r\n" * 6251,
        OK + b"\r\n" + b"x" * 100_001,
    ],
    ids=["content-length", "chunked", "read to close"],
)
async def test_a_response_over_the_limit_is_rejected(serve: Serve, open_client: Open, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.answer_all()
        await peer.request()
        await peer.send(answer)

    async with serve(script) as server, open_client(server) as client:
        with pytest.raises(ReplyTooLarge, match="max_response_bytes"):
            await client.request("GET", "/a")
        assert (await client.request("GET", "/b")).body == {"target": "/v1/b"}


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data)))],
)
async def test_a_decompression_bomb_needs_little_memory(
    serve: Serve, open_client: Open, encoding: str, encode: Any
) -> None:
    bomb = encode(bytes(50_000_000))

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(bomb, f"Content-Encoding: {encoding}")

    async with serve(script) as server, open_client(server) as client:
        tracemalloc.start()
        with pytest.raises(ReplyTooLarge):
            await client.request("GET", "/a")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectError),
        (OK + b"Content-Length: 10\r\n\r\n{}", IncompleteReply),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", IncompleteReply),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n", ProtocolError),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", ProtocolError),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", ProtocolError),
        (OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", ProtocolError),
    ],
    ids=["nothing", "cut", "cut chunk", "chunk size", "rubbish", "no gzip", "foreign encoding"],
)
async def test_a_broken_response_is_a_retryable_typed_error(
    serve: Serve, open_client: Open, answer: bytes, error: type[Exception]
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.answer_all()
        await peer.request()
        await peer.send(answer)
        if error is ProtocolError:
            await peer.answer_all()

    async with serve(script) as server, open_client(server) as client:
        with pytest.raises((ConnectError, ProtocolError)) as caught:
            await client.request("POST", "/a", {})
        assert type(caught.value) is error
        assert caught.value.retryable
        assert (await client.request("POST", "/b", {})).body == {"target": "/v1/b"}


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", "'br' was not requested"),
        (b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "corrupt"),
        (b"Content-Length: 10\r\n\r\n{}", ""),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", ""),
        (b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n", ""),
        (b"Content-Length: 100001\r\n\r\n" + b"x" * 100_001, "max_response_bytes"),
        (b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(1_000_000)), "max_response_bytes"),
    ],
    ids=["foreign encoding", "no gzip", "cut", "cut chunks", "chunk size", "too large", "bomb"],
)
@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (401, AuthenticationError, False),
        (400, StatusError, False),
        (429, RateLimited, True),
        (503, ServerError, True),
    ],
)
async def test_an_error_status_counts_if_its_body_is_unreadable(
    serve: Serve,
    open_client: Open,
    status: int,
    error: type[StatusError],
    retryable: bool,
    rest: bytes,
    message: str,
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.answer_all()
        await peer.request()
        await peer.send(b"HTTP/1.1 %d No\r\nRetry-After: 7\r\n%b" % (status, rest))

    async with serve(script) as server, open_client(server) as client:
        with pytest.raises(error) as caught:
            await client.request("POST", "/a", {})
        assert (caught.value.status, caught.value.retryable) == (status, retryable)
        assert caught.value.retry_after == 7
        assert caught.value.body.startswith(b"(the body could not be read: ")
        assert message in caught.value.body.decode()
        assert (await client.request("POST", "/b", {})).body == {"target": "/v1/b"}


@pytest.mark.parametrize("timeout", [Timeout(0.2), Timeout(5, read=0.2)])
async def test_an_error_status_counts_if_its_body_does_not_arrive(
    serve: Serve, open_client: Open, timeout: Timeout
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 10\r\n\r\n{")
        await peer.request()

    async with serve(script) as server, open_client(server) as client:
        with anyio.fail_after(3), pytest.raises(AuthenticationError):
            await client.request("POST", "/a", {}, timeout=timeout)


async def test_a_reset_in_the_body_is_an_incomplete_reply(serve: Serve, open_client: Open) -> None:
    go_on = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"Content-Length: 10\r\n\r\n{")
        await go_on.wait()
        await peer.reset()

    async def expect() -> None:
        with pytest.raises(IncompleteReply):
            await client.request("POST", "/a", {})

    async with serve(script) as server, open_client(server) as client, anyio.create_task_group() as group:
        group.start_soon(expect)
        await server.until(lambda: bool(server.requests))
        await anyio.wait_all_tasks_blocked()
        go_on.set()


@pytest.mark.parametrize("encoding", ["UTF-8", "none", "", "identity", "gzip, utf-8"])
async def test_unknown_encodings_are_ignored(serve: Serve, open_client: Open, encoding: str) -> None:
    body = gzip.compress(b'{"a":1}') + b"\0\0" if "gzip" in encoding else b'{"a":1}'

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(body, f"Content-Encoding: {encoding}")

    async with serve(script) as server, open_client(server) as client:
        for _ in range(2):
            assert (await client.request("GET", "/a")).body == {"a": 1}
        assert server.accepted == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\nContent-Length: 7\n\n", OK + b"X: a\r\n b\r\nY: \x01\r\n\r\n"]
)
async def test_a_head_that_every_client_accepts_is_accepted(
    serve: Serve, open_client: Open, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer + b'{"a":1}')

    async with serve(script) as server, open_client(server) as client:
        for _ in range(2):
            assert (await client.request("POST", "/a", {})).body == {"a": 1}


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [(Timeout(0.15), "total"), (Timeout(5, read=0.15), "read"), (Timeout(5, write=0.15), "write")],
)
async def test_a_stall_is_a_timeout_that_names_its_phase(
    serve: Serve, open_client: Open, timeout: Timeout, phase: str
) -> None:
    async def script(peer: Peer) -> None:
        if phase == "write":
            await peer.read_slowly()
        await peer.request()
        await peer.request()

    async with serve(script) as server, open_client(server) as client:
        text = "x" * 30_000_000 if phase == "write" else ""
        with anyio.fail_after(3), pytest.raises(CallTimeout) as caught:
            await client.request("POST", "/a", {"text": text}, timeout=timeout)
        assert caught.value.phase == phase
        assert caught.value.retryable
        assert client.in_flight == 0


async def test_cancelled_calls_leave_no_partial_response(serve: Serve, open_client: Open) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if "cancelled" in seen.target:
                await peer.send(OK + b'Content-Length: 20\r\n\r\n{"target":')
                await peer.request()
                return
            await peer.answer(b'{"target":"%s"}' % seen.target.encode())

    async with serve(script) as server, open_client(server) as client:
        for number in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(client.request, "POST", f"/cancelled-{number}", {})
                await server.until(lambda n=number: f"/v1/cancelled-{n}" in server.targets)  # type: ignore[misc]
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            assert client.in_flight == 0
            assert (await client.request("POST", f"/{number}", {})).body == {"target": f"/v1/{number}"}


async def test_a_refused_connection_names_the_address(serve: Serve, open_client: Open) -> None:
    async with serve() as server:
        pass
    async with open_client(server) as client:
        with pytest.raises(ConnectError, match=f"127.0.0.1:{server.port}") as caught:
            await client.request("POST", "/a", {})
        assert caught.value.retryable
        assert not isinstance(caught.value, TLSError)


async def test_an_unresolvable_name_is_a_connect_error(serve: Serve, open_client: Open) -> None:
    async with serve() as server, open_client(server, base_url="http://nonexistent.invalid/v1") as client:
        with pytest.raises(ConnectError, match=r"nonexistent\.invalid") as caught:
            await client.request("POST", "/a", {})
        assert caught.value.retryable


async def test_closing_the_transport_closes_its_connections(serve: Serve, open_client: Open) -> None:
    async with serve() as server:
        async with open_client(server) as client, anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(client.request, "GET", f"/{number}")
        await server.until(lambda: server.open == 0)
        assert server.accepted == 5
