"""The native transport over real sockets: requests, and connections that are kept and reused."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

import headrace
from headrace import Call, ConnectError, Endpoint, Request, StatusError, Timeout
from headrace.transports.http1 import connection_pool as http1_pool
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, Serve

    from headrace import Client

    Connect = Callable[..., Client]

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"


async def test_the_bytes_of_a_request(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server, api_key="sk-test") as client:
        await client.request("POST", "/rerank", {"input": "größe"})
        await client.request("GET", "/models?limit=3")
    post, get = server.requests
    assert (post.method, post.target) == ("POST", "/v1/rerank")
    assert post.body == '{"model":"m","input":"größe"}'.encode()
    assert post.headers["host"] == f"127.0.0.1:{server.port}"
    assert post.headers["authorization"] == "Bearer sk-test"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"].startswith("headrace/")
    assert post.headers["accept-encoding"] == "gzip, deflate"
    assert (get.method, get.target, get.body) == ("GET", "/v1/models?limit=3", b"")
    assert "content-length" not in get.headers


async def test_a_post_without_a_body_has_content_length_0(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server) as client:
        await client.request("POST", "/files/7/cancel")
    assert server.requests[0].headers["content-length"] == "0"


async def test_a_connection_is_reused(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server) as client:
        for number in range(20):
            reply = await client.request("POST", f"/{number}", {})
            assert reply.body == {"target": f"/v1/{number}"}
        assert server.accepted == 1


async def test_the_connection_used_last_is_used_first(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server) as client:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(client.request, "GET", f"/{number}")
        assert server.accepted == 5
        await client.request("GET", "/a")
        last = server.requests[-1].connection
        for _ in range(10):
            await client.request("GET", "/b")
        assert {seen.connection for seen in server.requests[6:]} == {last}
        assert server.accepted == 5


async def test_at_most_max_in_flight_idle_connections_are_kept(serve: Serve, connect: Connect) -> None:
    async with serve() as server, connect(server, max_in_flight=3) as client:
        async with client.map(
            [Request(None, f"/{n}", "GET") for n in range(30)], max_in_flight=10
        ) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        assert server.accepted >= 3
        await server.until(lambda: server.open <= 3)
        await client.request("GET", "/again")
        assert server.open == 3
    await server.until(lambda: server.open == 0)


async def test_closing_the_client_closes_its_connections(serve: Serve, connect: Connect) -> None:
    async with serve() as server:
        async with connect(server) as client, anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(client.request, "GET", f"/{number}")
        await server.until(lambda: server.open == 0)
        assert server.accepted == 5


async def test_a_cancelled_client_closes_its_connections(serve: Serve, connect: Connect) -> None:
    async with serve() as server:
        with anyio.CancelScope() as scope:
            async with connect(server) as client:
                async with anyio.create_task_group() as group:
                    for number in range(5):
                        group.start_soon(client.request, "GET", f"/{number}")
                scope.cancel()
                await anyio.sleep_forever()
        await server.until(lambda: server.open == 0)


async def test_a_connection_idle_for_too_long_is_not_reused(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as server, connect(server) as client:
        monkeypatch.setattr(http1_pool, "KEEP_ALIVE", 0.0)
        await client.request("GET", "/a")
        await client.request("GET", "/b")
        assert server.per_connection == {0: 1, 1: 1}
        await server.until(lambda: server.open == 1)


async def test_a_connection_that_the_server_closed_is_replaced_and_the_request_sent_once(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with serve(script) as server, connect(server) as client:
        for number in range(5):
            await client.request("POST", f"/{number}", {})
            await server.until(lambda: server.open == 0)
        assert server.targets == [f"/v1/{number}" for number in range(5)]
        assert server.accepted == 5


async def test_a_connection_closed_while_the_loop_was_blocked_is_replaced() -> None:
    """The server is a thread. It closes while this program computes, so the loop cannot notice it."""
    used, closed, requests = threading.Event(), threading.Event(), list[bytes]()

    def serve_two(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(65536))
                connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")
                used.wait(10)
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_two, args=[listener])
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with headrace.Client(base_url=url, model="m", policies=[]) as client:
            await client.request("POST", "/a", {})
            used.set()
            assert closed.wait(10)  # blocks the loop, as a long computation does
            await client.request("POST", "/b", {})
        await anyio.to_thread.run_sync(server.join)
    assert [request.split(b" ")[1] for request in requests] == [b"/v1/a", b"/v1/b"]


async def test_unexpected_bytes_make_an_idle_connection_unusable(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"answer":1}')
        if peer.number == 0:
            answered.set()
            await go_on.wait()
            await peer.answer(b'{"answer":"of nobody"}')
            sent.set()
        await peer.answer_all()

    answered, go_on, sent = anyio.Event(), anyio.Event(), anyio.Event()
    async with serve(script) as server, connect(server) as client:
        await client.request("GET", "/a")
        await answered.wait()
        go_on.set()
        await sent.wait()
        await anyio.wait_all_tasks_blocked()
        assert (await client.request("GET", "/b")).body == {"answer": 1}
        assert server.accepted == 2


async def test_a_second_response_makes_a_connection_unusable(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send((OK + b"Content-Length: 9\r\n\r\n" + b'{"a": %d }' % peer.number) * 2)

    async with serve(script) as server, connect(server) as client:
        assert (await client.request("GET", "/a")).body == {"a": 0}
        assert (await client.request("GET", "/b")).body == {"a": 1}


async def test_a_redirect_is_not_followed_and_the_key_not_sent(serve: Serve, connect: Connect) -> None:
    async with serve() as other:

        async def script(peer: Peer) -> None:
            while await peer.request():
                location = f"Location: http://localhost:{other.port}/v1/x"
                await peer.answer(b"", location, status="307 Temporary Redirect")

        async with serve(script) as server, connect(server, api_key="sk-test") as client:
            with pytest.raises(StatusError, match=r"redirected to .*not followed"):
                await client.request("POST", "/a", {})
        assert other.accepted == 0


def opened(transport: NativeTransport) -> headrace.Client:
    """The transport within its lifespan, and closed after the block."""
    return headrace.Client(base_url="http://127.0.0.1:9", policies=[], transport=transport)


async def test_a_policys_endpoint_has_its_own_connections_and_headers(serve: Serve) -> None:
    transport = NativeTransport()
    async with serve() as first, serve() as second, opened(transport):
        endpoints = [Endpoint(first.url), Endpoint(second.url, headers={"X-Tenant": "a"})]
        for endpoint in endpoints * 2:
            call = Call(Request({}, "/a"), endpoint, b"{}", Timeout(5), anyio.current_time())
            assert (await transport.send(call)).status == 200
        assert (first.accepted, second.accepted) == (1, 1)
        assert [seen.headers.get("x-tenant") for seen in second.requests] == ["a", "a"]
        assert [seen.headers.get("x-tenant") for seen in first.requests] == [None, None]
    await second.until(lambda: second.open == 0)


async def test_a_url_in_capitals_is_not_contacted_in_plain_text(serve: Serve) -> None:
    """The endpoint of a policy does not come from settings."""
    first = b""

    async def script(peer: Peer) -> None:
        nonlocal first
        first = await peer.stream.receive()

    transport = NativeTransport()
    async with serve(script) as server, opened(transport):
        endpoint = Endpoint(server.url.replace("http:", "HTTPS:"))
        call = Call(Request({}, "/a"), endpoint, b"{}", Timeout(5), anyio.current_time())
        with pytest.raises(ConnectError):
            await transport.send(call)
    assert first[:1] == b"\x16", "no TLS handshake"


@pytest.mark.parametrize(
    ("header", "connections"), [("timeout=1", 3), ("timeout=5, max=1000", 1), ("max=9", 1)]
)
async def test_the_servers_keep_alive_timeout_is_respected(
    serve: Serve, connect: Connect, header: str, connections: int
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"{}", f"Keep-Alive: {header}")

    async with serve(script) as server, connect(server) as client:
        for number in range(3):
            await client.request("POST", f"/{number}", {})
        assert len(server.per_connection) == connections
