"""Later TLS connections resume a session: for the same name and verification, and for a limited time."""

from __future__ import annotations

import ssl
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSAttribute
from tests.transports.conftest import server_context

from headrace import CallTimeout, Client, ConnectError, Endpoint, Timeout, TLSError
from headrace.transports.connecting import tls_session_cache
from headrace.transports.connecting.ssl_context import default_ssl_context
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Connect, Peer, RawServer, Serve

pytestmark = pytest.mark.anyio


class Resumptions:
    """A script that records which connections resumed a session; calls of /together are answered together."""

    def __init__(self) -> None:
        self.reused: list[bool] = []
        self.together = 0
        self._all_there = anyio.Event()

    async def __call__(self, peer: Peer) -> None:
        self.reused.append(bool(peer.stream.extra(TLSAttribute.ssl_object).session_reused))
        while seen := await peer.request():
            if seen.target.endswith("/together"):
                self.together -= 1
                if not self.together:
                    self._all_there.set()
                await self._all_there.wait()
            await peer.answer()

    async def calls(self, client: Client, number: int) -> None:
        """As many calls at once, each over its own connection."""
        self.together, self._all_there = number, anyio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(number):
                group.start_soon(client.request, "POST", "/together", {})


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def of_server(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    """The context of a loopback server that speaks only this TLS version."""
    context = server_context(authority, "127.0.0.1")
    context.minimum_version = context.maximum_version = request.param
    return context


@pytest.fixture
def script() -> Resumptions:
    return Resumptions()


async def test_later_connections_resume_the_session_of_the_first(
    serve: Serve, connect: Connect, script: Resumptions, of_server: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    transport = NativeTransport(ssl_context=trusting)
    async with serve(script, of_server) as server, connect(server, transport=transport) as client:
        await client.request("POST", "/a", {})
        await script.calls(client, 20)
    assert script.reused == [False, *[True] * 19]


async def test_a_session_is_not_shared_with_another_client(
    serve: Serve, connect: Connect, script: Resumptions, of_server: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with serve(script, of_server) as server:
        for _ in range(2):
            async with connect(server, transport=NativeTransport(ssl_context=trusting)) as client:
                await client.request("POST", "/a", {})
                await script.calls(client, 2)
    assert script.reused == [False, True] * 2


async def test_another_name_of_the_same_server_is_verified_and_rejected(
    serve: Serve, script: Resumptions, of_server: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with serve(script, of_server) as server:
        right = Endpoint(server.url, name="right", models=["right"])
        wrong = Endpoint(server.url.replace("127.0.0.1", "localhost"), name="wrong", models=["wrong"])
        async with Client(
            endpoints=[right, wrong], policies=[], transport=NativeTransport(ssl_context=trusting)
        ) as client:
            for _ in range(2):
                await client.request("POST", "/a", {"model": "right"})
                with pytest.raises(TLSError, match="localhost"):
                    await client.request("POST", "/a", {"model": "wrong"})
    assert {seen.headers["host"] for seen in server.requests} == {f"127.0.0.1:{server.port}"}


async def test_an_unverified_session_is_not_resumed_once_verification_is_on(
    serve: Serve, connect: Connect, script: Resumptions, of_server: ssl.SSLContext
) -> None:
    context = default_ssl_context()  # which does not know the authority
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    transport = NativeTransport(ssl_context=context)
    async with serve(script, of_server) as server, connect(server, transport=transport) as client:
        await client.request("POST", "/a", {})
        await script.calls(client, 2)
        context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True
        with pytest.raises(BaseExceptionGroup) as caught:
            await script.calls(client, 3)
    assert caught.group_contains(TLSError, match="certificate")
    assert script.reused == [False, True]


async def test_a_server_that_forgot_the_session_gets_a_full_handshake(
    serve: Serve,
    connect: Connect,
    script: Resumptions,
    of_server: ssl.SSLContext,
    trusting: ssl.SSLContext,
    authority: trustme.CA,
) -> None:
    transport = NativeTransport(ssl_context=trusting)
    async with serve(script, of_server) as server, connect(server, transport=transport) as client:
        await client.request("POST", "/a", {})
        await script.calls(client, 2)
        restart(server, authority, of_server)
        await script.calls(client, 3)
        await script.calls(client, 5)
    assert script.reused == [False, True, False, True, True]


def restart(server: RawServer, authority: trustme.CA, before: ssl.SSLContext) -> None:
    """Give the server new keys for its tickets, as after a restart."""
    context = server_context(authority, "127.0.0.1")
    context.minimum_version = context.maximum_version = before.maximum_version
    server.context = context


async def test_a_session_that_is_too_old_is_replaced_by_a_full_handshake(
    serve: Serve,
    connect: Connect,
    script: Resumptions,
    of_server: ssl.SSLContext,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = NativeTransport(ssl_context=trusting)
    async with serve(script, of_server) as server, connect(server, transport=transport) as client:
        monkeypatch.setattr(tls_session_cache, "MAX_LIFETIME", 0.0)
        await client.request("POST", "/a", {})
        await script.calls(client, 2)
        assert script.reused == [False, False]
        monkeypatch.setattr(tls_session_cache, "MAX_LIFETIME", 60.0)
        await script.calls(client, 3)
    assert script.reused == [False, False, True]


@pytest.mark.parametrize(
    ("lifetime_hint", "expires_in", "expected"),
    [(300, 9_999, 300), (0, 9_999, 7200), (300, 100, 100), (300, -5, -5), (900_000, 9_999, 7200)],
)
async def test_a_session_lasts_as_long_as_server_and_certificate_allow(
    lifetime_hint: int, expires_in: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_session_cache, "MAX_LIFETIME", 7200.0)
    session: Any = SimpleNamespace(ticket_lifetime_hint=lifetime_hint, timeout=7200)
    expires = time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + expires_in))
    connection: Any = SimpleNamespace(getpeercert=lambda: {"notAfter": expires})
    assert tls_session_cache._lifetime(session, connection) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("end", ["timeout", "cancel"])
async def test_an_aborted_handshake_leaves_nothing_open(
    serve: Serve, connect: Connect, end: str, trusting: ssl.SSLContext, open_files: Callable[[], int]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.more()  # the client's part
        await peer.more()

    async with serve(script) as server:
        url = server.url.replace("http:", "https:")
        timeout = Timeout(10.0, connect=0.1 if end == "timeout" else None)
        transport = NativeTransport(ssl_context=trusting)
        async with connect(server, base_url=url, transport=transport, timeout=timeout) as client:
            before = 0
            for _ in range(3):
                if end == "timeout":
                    with pytest.raises(CallTimeout, match="connect timeout"):
                        await client.request("POST", "/a", {})
                else:
                    async with anyio.create_task_group() as group:
                        group.start_soon(client.request, "POST", "/a", {})
                        await server.until(lambda: server.open == 1)
                        await anyio.wait_all_tasks_blocked()
                        group.cancel_scope.cancel()
                await server.until(lambda: server.open == 0)
                before = before or open_files()
                assert open_files() <= before


async def test_closing_a_client_ends_its_handshakes(serve: Serve, trusting: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.more()
        await peer.more()

    async with serve(script) as server:
        transport = NativeTransport(ssl_context=trusting)
        url = server.url.replace("http:", "https:")
        async with Client(base_url=url, model="m", policies=[], transport=transport) as client:

            async def call() -> None:
                with pytest.raises(ConnectError, match="this side closed it"):
                    await client.request("POST", "/a", {})

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await server.until(lambda: server.open == 1)
                await anyio.wait_all_tasks_blocked()
                await transport.aclose()
