"""A loopback server scripted byte by byte, and shared fixtures of the transports' tests."""

from __future__ import annotations

import os
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from socket import SO_LINGER, SO_RCVBUF, SOL_SOCKET, socket
from typing import Any, TypeAlias

import anyio
import anyio.abc
import attrs
import pytest
import trustme
from anyio.streams.tls import TLSStream

from headrace import Client, Headers
from headrace._support.clock import on_asyncio
from headrace.policies import BackgroundTasks
from headrace.transports.connecting.ssl_context import default_ssl_context
from headrace.transports.event_loops.poller import Poller

Connect: TypeAlias = Callable[..., Client]
"""Makes a client of a server; see the fixture ``connect``."""

_GONE = (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError, OSError)


@attrs.frozen
class Seen:
    """A request as the server read it. ``connection`` counts from 0."""

    connection: int
    method: str
    target: str
    headers: Headers
    body: bytes


class Peer:
    """One connection, from the server's side."""

    def __init__(self, server: RawServer, stream: anyio.abc.ByteStream, number: int) -> None:
        self._server = server
        self._received = b""
        self.stream = stream
        self.number = number

    async def request(self) -> Seen | None:
        """The next request, or None if the client has closed."""
        while b"\r\n\r\n" not in self._received:
            if not await self.more():
                return None
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = Headers(
            [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        )
        length = int(headers.get("content-length", "0"))
        while len(self._received) < length:
            if not await self.more():
                return None
        body, self._received = self._received[:length], self._received[length:]
        method, target, _ = first.decode().split(" ")
        seen = Seen(self.number, method, target, headers, body)
        self._server.requests.append(seen)
        self._server.tell()
        return seen

    async def more(self) -> bool:
        """Receive some of what the client sends. False if it has closed."""
        try:
            self._received += await self.stream.receive()
        except _GONE:
            return False
        return True

    async def send(self, data: bytes) -> None:
        """Send these bytes unchanged."""
        await self.stream.send(data)

    async def answer(self, body: bytes = b"{}", *headers: str, status: str = "200 OK") -> None:
        """Send a complete response with a content-length."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def answer_all(self) -> None:
        """Answer every request with its target, until the client closes."""
        while seen := await self.request():
            await self.answer(b'{"target":"%s"}' % seen.target.encode())

    async def close(self) -> None:
        """Close as a server does: with a FIN."""
        await self.stream.aclose()

    async def reset(self) -> None:
        """Close with an RST."""
        raw: socket = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self.stream)

    async def read_slowly(self) -> None:
        """Never read the client's bytes, and have little buffer space for them."""
        raw: socket = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        await anyio.sleep_forever()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Runs ``script`` on each connection; knows what arrived and how many connections are open."""

    def __init__(self, script: Script, context: ssl.SSLContext | None) -> None:
        self._script = script
        self.context = context
        self._changed = anyio.Event()
        self.host = "127.0.0.1"
        self.port = 0
        self.requests: list[Seen] = []
        self.accepted = 0
        self.open = 0
        self.failed_handshakes = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.host}:{self.port}/v1"

    @property
    def targets(self) -> list[str]:
        return [seen.target for seen in self.requests]

    @property
    def per_connection(self) -> dict[int, int]:
        """How many requests arrived over each connection."""
        return dict(Counter(seen.connection for seen in self.requests))

    def tell(self) -> None:
        """Let `until` check again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on this server is true."""
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        number, self.accepted, self.open = self.accepted, self.accepted + 1, self.open + 1
        self.tell()
        try:
            async with stream:
                await self._play(stream, number)
        except _GONE:
            pass
        finally:
            self.open -= 1
            self.tell()

    async def _play(self, stream: anyio.abc.ByteStream, number: int) -> None:
        if self.context is not None:
            try:
                stream = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=self.context, standard_compatible=False
                )
            except _GONE:
                self.failed_handshakes += 1
                raise
        await self._script(Peer(self, stream, number))


Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[RawServer]]


@asynccontextmanager
async def _serve(
    script: Script = Peer.answer_all, context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    server = RawServer(script, context)
    listener = await anyio.create_tcp_listener(local_host=server.host)
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        try:
            yield server
        finally:
            group.cancel_scope.cancel()


@pytest.fixture
def serve() -> Serve:
    """``async with serve(script) as server``: a `RawServer`. By default it answers every request."""
    return _serve


@pytest.fixture
def open_files() -> Callable[[], int]:
    """How many file descriptors this process has open."""
    return lambda: len(os.listdir("/proc/self/fd"))


def client_for(server: RawServer, **keywords: Any) -> Client:
    """A client of this server without policies."""
    usual: dict[str, Any] = {"base_url": server.url, "model": "m", "policies": [], "timeout": 10.0}
    return Client(**usual | keywords)


@pytest.fixture
def connect() -> Callable[..., Client]:
    """``connect(server, **keywords)``: a `Client` without policies, by default over the native transport."""
    return client_for


Trust: TypeAlias = Callable[..., tuple[ssl.SSLContext, ssl.SSLContext]]


@pytest.fixture
def trust() -> Trust:
    """``trust(*protocols)``: SSL contexts of a client and of a server that it trusts; the server speaks
    these.
    """

    def trust(*protocols: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        authority, ours = trustme.CA(), default_ssl_context()
        authority.configure_trust(ours)
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(theirs)
        theirs.set_alpn_protocols(list(protocols))
        return ours, theirs

    return trust


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """The SSL context of a server with these names and a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """The default context of a user who trusts this authority."""
    context = default_ssl_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    """A poller within a task group, closed at the end of the test."""
    async with anyio.create_task_group() as group:
        poller = Poller(None if on_asyncio() else BackgroundTasks(group, "the test"))
        yield poller
        await poller.aclose()
