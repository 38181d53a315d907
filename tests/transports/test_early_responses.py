"""Responses that arrive while a large request is still being sent."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from headrace import AuthenticationError, ConnectError, ProtocolError, StatusError
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.transports.conftest import Peer, RawServer, Serve

    from headrace import Client

    Connect = Callable[..., Client]
    End = Callable[[Peer], Awaitable[Any]]

pytestmark = pytest.mark.anyio

BIG = {"text": "x" * 20_000_000}
"""More than the sockets' buffers hold."""

TOO_LARGE = b'HTTP/1.1 413 Too Large\r\nContent-Length: 36\r\n%b\r\n{"error":{"message":"at most 1 MB"}}'


@pytest.fixture(
    params=["asyncio", ("asyncio", {"use_uvloop": True}), "trio"], ids=["asyncio", "uvloop", "trio"]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "tls"])
def security(request: pytest.FixtureRequest, authority: trustme.CA) -> tuple[Any, Any]:
    """The server's SSL context, and the client's."""
    if request.param == "http":
        return None, None
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def hold(peer: Peer) -> None:
    """Neither read nor close."""
    await anyio.sleep_forever()


async def close(peer: Peer) -> None:
    await peer.close()


async def reset(peer: Peer) -> None:
    await peer.reset()


def refusing(answer: bytes, end: End) -> Callable[[Peer], Awaitable[None]]:
    """The first connection answers once a part of the request has arrived, the others answer everything."""

    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.answer_all()
        await peer.stream.receive()
        await peer.send(answer)
        await end(peer)

    return script


async def assert_sound(client: Client, server: RawServer) -> None:
    """The connection of the early response is closed, and the request was sent once."""
    assert client.in_flight == 0
    assert (await client.request("POST", "/next", {})).body == {"target": "/v1/next"}
    assert server.accepted == 2
    assert server.targets == ["/v1/next"]


@pytest.mark.parametrize("end", [hold, close, reset])
@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept alive", "connection: close"])
async def test_an_early_error_status_is_raised(
    serve: Serve, connect: Connect, security: tuple[Any, Any], end: End, more: bytes
) -> None:
    server_context, context = security
    async with (
        serve(refusing(TOO_LARGE % more, end), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5), pytest.raises(StatusError, match="at most 1 MB") as caught:
            await client.request("POST", "/a", BIG)
        assert caught.value.status == 413
        assert not caught.value.retryable
        await assert_sound(client, server)


@pytest.mark.parametrize("end", [close, reset])
async def test_an_early_error_may_have_a_body_that_ends_with_the_connection_or_is_lost(
    serve: Serve, connect: Connect, security: tuple[Any, Any], end: End
) -> None:
    server_context, context = security
    answer = b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\nwho are you?"
    async with (
        serve(refusing(answer, end), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5), pytest.raises(AuthenticationError):
            await client.request("POST", "/a", BIG)
        await assert_sound(client, server)


async def test_an_early_error_status_ends_a_stream(
    serve: Serve, connect: Connect, security: tuple[Any, Any]
) -> None:
    server_context, context = security
    async with (
        serve(refusing(TOO_LARGE % b"", hold), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5), pytest.raises(StatusError, match="at most 1 MB"):
            async with client.stream(BIG["text"]):
                pytest.fail("it was refused")
        await assert_sound(client, server)


async def test_an_early_success_is_a_reply(serve: Serve, connect: Connect, security: tuple[Any, Any]) -> None:
    server_context, context = security
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'
    async with (
        serve(refusing(answer, hold), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5):
            assert (await client.request("POST", "/a", BIG)).body == {"a": 1}
        await assert_sound(client, server)


async def test_a_response_may_arrive_in_parts_while_the_request_is_sent(
    serve: Serve, connect: Connect, security: tuple[Any, Any]
) -> None:
    """The connection carries other calls, because the whole request was read."""
    server_context, context = security

    async def script(peer: Peer) -> None:
        if not server.requests:
            await peer.more()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            await peer.request()
            await peer.send(b'{"size":1}')
        await peer.answer_all()

    async with (
        serve(script, server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context), timeout=60.0) as client,
    ):
        assert (await client.request("POST", "/a", BIG)).body == {"size": 1}
        assert (await client.request("POST", "/next", {})).body == {"target": "/v1/next"}
        assert server.accepted == 1
        assert len(server.requests[0].body) > 20_000_000


async def test_an_early_response_that_violates_http_is_an_error(
    serve: Serve, connect: Connect, security: tuple[Any, Any]
) -> None:
    server_context, context = security
    async with (
        serve(refusing(b"SSH-2.0-x\r\n", hold), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5), pytest.raises(ProtocolError, match="SSH"):
            await client.request("POST", "/a", BIG)
        await assert_sound(client, server)


@pytest.mark.parametrize("end", [close, reset])
async def test_a_connection_lost_without_a_response_is_a_connect_error(
    serve: Serve, connect: Connect, security: tuple[Any, Any], end: End
) -> None:
    server_context, context = security
    async with (
        serve(refusing(b"", end), server_context) as server,
        connect(server, transport=NativeTransport(ssl_context=context)) as client,
    ):
        with anyio.fail_after(5), pytest.raises(ConnectError) as caught:
            await client.request("POST", "/a", BIG)
        assert caught.value.retryable
        await assert_sound(client, server)


@pytest.mark.parametrize("answer", [b"", TOO_LARGE[:40]], ids=["nothing", "a part of a head"])
async def test_cancelling_leaves_nothing_open(serve: Serve, connect: Connect, answer: bytes) -> None:
    async with serve(refusing(answer, hold)) as server, connect(server) as client:
        with anyio.move_on_after(0.2):
            await client.request("POST", "/a", BIG)
        await server.until(lambda: server.accepted == 1)
        await assert_sound(client, server)
