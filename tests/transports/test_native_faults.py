"""The native transport with failing servers: lost connections, truncated responses, stalls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from headrace import (
    CallError,
    CallTimeout,
    ConnectError,
    IncompleteReply,
    ProtocolError,
    ReplyTooLarge,
    Timeout,
    TLSError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.transports.conftest import Connect, Peer, Serve

    from headrace import Client

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
BIG = "x" * 30_000_000
"""More than the sockets' buffers hold."""


def first_then_answer(first: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer], Awaitable[None]]:
    """The first connection behaves as scripted, the others answer."""

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await first(peer)
        else:
            await peer.answer_all()

    return script


async def assert_sound(client: Client) -> None:
    """Calls after a failure succeed, and get their own responses."""
    for name in ("b", "c"):
        assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
    assert client.in_flight == 0


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("read_first", [True, False])
async def test_a_connection_lost_before_a_response_is_a_retryable_connect_error(
    serve: Serve, connect: Connect, end: str, read_first: bool
) -> None:
    async def lose(peer: Peer) -> None:
        if read_first:
            await peer.request()
        await getattr(peer, end)()

    async with serve(first_then_answer(lose)) as server, connect(server) as client:
        with pytest.raises(ConnectError) as caught:
            await client.request("POST", "/a", {})
        assert type(caught.value) is ConnectError
        assert caught.value.retryable
        assert f"127.0.0.1:{server.port}" in str(caught.value)
        await assert_sound(client)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "GET", "HEAD", "PUT", "DELETE"])
async def test_only_idempotent_requests_are_sent_again_if_a_reused_connection_is_lost(
    serve: Serve, connect: Connect, end: str, method: str
) -> None:
    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await getattr(peer, end)()

    async with serve(first_then_answer(answer_once)) as server, connect(server) as client:
        await client.request("POST", "/a", {})
        if method in {"POST", "PATCH"}:
            with pytest.raises(ConnectError):
                await client.request(method, "/lost", {})
            assert server.targets == ["/v1/a", "/v1/lost"]
        else:
            assert (await client.request(method, "/lost")).status == 200
            assert server.targets == ["/v1/a", "/v1/lost", "/v1/lost"]
        await assert_sound(client)


async def test_a_request_is_sent_again_at_most_once(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.answer()
            await peer.request()

    async with serve(script) as server, connect(server) as client:
        await client.request("GET", "/a")
        with pytest.raises(ConnectError):
            await client.request("GET", "/b")
        assert server.targets == ["/v1/a", "/v1/b", "/v1/b"]


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "beginning",
    [
        b"H",
        OK,
        OK + b"Content-Length: 10\r\n\r\n",
        OK + b"Content-Length: 10\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_truncated_response_is_incomplete(
    serve: Serve, connect: Connect, beginning: bytes, end: str
) -> None:
    go_on = anyio.Event()

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)
        await go_on.wait()  # a reset would discard what was not read yet
        await getattr(peer, end)()

    async with serve(first_then_answer(cut)) as server, connect(server) as client:
        async with anyio.create_task_group() as group:

            async def expect() -> None:
                with pytest.raises(IncompleteReply) as caught:
                    await client.request("POST", "/a", {})
                assert caught.value.retryable

            group.start_soon(expect)
            await server.until(lambda: bool(server.requests))
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        await assert_sound(client)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        OK + b"X: y\r\n" * 60_000,
    ],
    ids=["two lengths", "length and chunks", "chunk size", "chunk end", "rubbish", "upgrade", "header flood"],
)
async def test_a_response_that_violates_http_is_an_error_and_its_connection_discarded(
    serve: Serve, connect: Connect, answer: bytes
) -> None:
    async def break_it(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.request()

    async with serve(first_then_answer(break_it)) as server, connect(server) as client:
        with pytest.raises((ProtocolError, ReplyTooLarge)):
            await client.request("POST", "/a", {})
        await server.until(lambda: server.open == 0)
        await assert_sound(client)


async def stall(peer: Peer) -> None:
    """Read the request and send nothing."""
    await peer.request()
    await peer.request()


async def stall_in_the_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK + b"Content-Length: 10\r\n\r\n{")
    await peer.request()


async def drip(peer: Peer) -> None:
    """Send one byte now and then, forever."""
    await peer.request()
    await peer.send(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b"x")
        await anyio.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "timeout", "phase", "message"),
    [
        (stall, Timeout(0.15), "total", "within 0.15 s"),
        (stall, Timeout(5, read=0.15), "read", "silent for 0.15 s"),
        (stall, Timeout(0.15, read=5), "total", "within 0.15 s"),
        (stall, Timeout(None, read=0.15), "read", "silent for 0.15 s"),
        (stall, Timeout(0.2, write=0.1), "total", "within 0.2 s"),
        (stall_in_the_body, Timeout(5, read=0.15), "read", "silent for 0.15 s"),
        (stall_in_the_body, Timeout(0.15), "total", "within 0.15 s"),
        (drip, Timeout(0.2), "total", "within 0.2 s"),
        (drip, Timeout(0.2, read=0.15), "total", "within 0.2 s"),
    ],
)
async def test_a_stall_ends_at_the_earliest_timeout(
    serve: Serve, connect: Connect, script: Any, timeout: Timeout, phase: str, message: str
) -> None:
    async with serve(first_then_answer(script)) as server, connect(server) as client:
        with anyio.fail_after(3), pytest.raises(CallTimeout, match=message) as caught:
            await client.request("POST", "/a", {}, timeout=timeout)
        assert caught.value.phase == phase
        assert caught.value.retryable
        await assert_sound(client)


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [(Timeout(5, write=0.15), "write"), (Timeout(0.15), "total"), (Timeout(0.15, write=5), "total")],
)
async def test_a_server_that_does_not_read_causes_a_timeout(
    serve: Serve, connect: Connect, timeout: Timeout, phase: str
) -> None:
    async def ignore(peer: Peer) -> None:
        await peer.read_slowly()

    async with serve(first_then_answer(ignore)) as server, connect(server) as client:
        with anyio.fail_after(3), pytest.raises(CallTimeout) as caught:
            await client.request("POST", "/a", {"text": BIG}, timeout=timeout)
        assert caught.value.phase == phase
        await assert_sound(client)


async def test_a_server_may_close_while_the_request_is_sent(serve: Serve, connect: Connect) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.reset()

    async with serve(first_then_answer(hang_up)) as server, connect(server) as client:
        with pytest.raises(ConnectError):
            await client.request("POST", "/a", {"text": BIG})
        await assert_sound(client)


async def test_a_loop_that_is_blocked_while_reading_causes_no_timeout(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer()
            time.sleep(0.3)  # noqa: ASYNC251 - the response arrives while the loop is blocked

    async with serve(script) as server, connect(server) as client:
        await client.request("POST", "/a", {}, timeout=Timeout(5, read=0.15))


async def test_a_refused_connection_is_a_connect_error_with_a_hint(connect: Connect, serve: Serve) -> None:
    async with serve() as server:
        pass
    for host in ("127.0.0.1", "localhost"):
        async with connect(server, base_url=f"http://{host}:{server.port}/v1") as client:
            with pytest.raises(ConnectError, match=r"refused.*base_url right\?") as caught:
                await client.request("POST", "/a", {})
            assert caught.value.retryable
            assert f"{host}:{server.port}" in str(caught.value)


async def test_an_unresolvable_name_is_a_connect_error(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server, base_url="http://nonexistent.invalid/v1") as client:
        with pytest.raises(ConnectError, match=r"nonexistent\.invalid:80 does not resolve") as caught:
            await client.request("POST", "/a", {})
        assert caught.value.retryable
        assert not isinstance(caught.value, (TLSError, CallTimeout))
        assert isinstance(caught.value, CallError)
