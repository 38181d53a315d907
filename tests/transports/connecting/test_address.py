"""Addresses: one name lookup for many connections, and the address that answers first."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from headrace import CallTimeout, Client, ConnectError, Endpoint, Request, Timeout
from headrace.transports.connecting import address as address_module
from headrace.transports.connecting.address import Address
from headrace.transports.connecting.connector import Connector
from headrace.transports.connecting.pool_group import PoolGroup
from headrace.transports.connecting.ssl_context import tls_name
from headrace.transports.connecting.timed_connector import TimedConnector
from headrace.transports.request_writer import Http1Writer

pytestmark = pytest.mark.anyio

DEAD = "127.0.0.7"


@pytest.fixture
def port() -> Iterator[int]:
    """A listening port of 127.0.0.1, and of no other address."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``resolver(*addresses)`` makes every name resolve to these, and returns the list of looked-up names."""

    def resolve_to(*found: str) -> list[str]:
        lookups: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            lookups.append(host)
            await anyio.lowlevel.checkpoint()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
        return lookups

    return resolve_to


async def test_an_ip_address_is_not_resolved(port: int, resolver: Callable[..., list[str]]) -> None:
    lookups = resolver()
    (await Address("127.0.0.1", port).connect()).close()
    assert not lookups


async def test_a_name_is_resolved_in_time_beside_a_busy_event_loop(port: int) -> None:
    """A thread resolves it, and a loop with short turns kept the interpreter lock from it for a minute."""

    async def be_busy() -> None:
        while True:
            turn_ends = time.perf_counter() + 0.003
            while time.perf_counter() < turn_ends:
                pass
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(8):
        async with anyio.create_task_group() as group:
            group.start_soon(be_busy)
            (await Address("localhost", port).connect()).close()
            group.cancel_scope.cancel()


async def test_connecting_to_loopback_takes_no_time(port: int, resolver: Callable[..., list[str]]) -> None:
    raw_socket = Address("127.0.0.1", port).connect_nowait()
    assert raw_socket is not None
    with raw_socket:
        assert raw_socket.getpeername() == ("127.0.0.1", port)
        assert not raw_socket.getblocking()
    assert Address(DEAD, port).connect_nowait() is None, "nothing listens there"
    resolver("127.0.0.1")
    address = Address("some.test", port)
    assert address.connect_nowait() is None, "its name is not resolved yet"
    (await address.connect()).close()
    found = address.connect_nowait()
    assert found is not None
    found.close()


async def test_connecting_elsewhere_needs_a_wait() -> None:
    assert Address("192.0.2.1", 80).connect_nowait() is None


async def test_many_connects_at_once_resolve_a_name_once(
    port: int, resolver: Callable[..., list[str]]
) -> None:
    lookups = resolver(DEAD, "127.0.0.1")
    address = Address("some.test", port)
    reached = []

    async def connect() -> None:
        with await address.connect() as raw_socket:
            reached.append(raw_socket.getpeername()[0])

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(connect)
    assert reached == ["127.0.0.1"] * 100
    assert lookups == ["some.test"]


async def test_a_task_cancelled_while_resolving_leaves_it_to_the_next(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups, reached, address = list[str](), list[str](), Address("some.test", port)
    first_looks, scope = anyio.Event(), anyio.CancelScope()

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        lookups.append(host)
        if len(lookups) == 1:
            first_looks.set()
            await anyio.sleep_forever()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def give_up() -> None:
        with scope:
            await address.connect()

    async def connect() -> None:
        with await address.connect() as raw_socket:
            reached.append(raw_socket.getpeername()[0])

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
            await first_looks.wait()
            for _ in range(10):
                group.start_soon(connect)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert reached == ["127.0.0.1"] * 10
    assert lookups == ["some.test"] * 2


async def test_a_name_is_resolved_again_after_its_cache_time(
    port: int, resolver: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = resolver("127.0.0.1")
    monkeypatch.setattr(address_module, "CACHE_SECONDS", 0.0)
    address = Address("some.test", port)
    for _ in range(3):
        (await address.connect()).close()
    assert len(lookups) == 3


async def test_an_address_that_refuses_connections_is_resolved_again(
    port: int, resolver: Callable[..., list[str]]
) -> None:
    resolver("127.0.0.1")
    address = Address("some.test", port)
    (await address.connect()).close()
    with socket.create_server((DEAD, 0)) as moved:
        address._port = moved.getsockname()[1]
        address._best = (socket.AF_INET, (DEAD, port))  # nothing listens there any more
        lookups = resolver(DEAD)
        with await address.connect() as raw_socket:
            assert raw_socket.getpeername()[0] == DEAD
    assert lookups == ["some.test"]


@contextlib.contextmanager
def that_drops_what_comes(port: int) -> Iterator[None]:
    """An address that does not answer connects: its backlog is full, and no process accepts."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_server((DEAD, port), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((DEAD, port))
        yield


async def test_an_unresponsive_address_fails_one_connect_and_is_then_resolved_again(
    port: int, resolver: Callable[..., list[str]]
) -> None:
    lookups = resolver(DEAD, "127.0.0.1")
    nothing: Any = None
    connector = Connector("some.test", port, None, poller=nothing)
    timed_connector, results = TimedConnector(connector, PoolGroup()), list[str]()
    address = connector._address
    (await timed_connector.connect(["http/1.1"], Timeout(60.0), math.inf)).raw_socket.close()

    async def connect(timeout: float) -> None:
        try:
            connected = await timed_connector.connect(["http/1.1"], Timeout(60.0, connect=timeout), math.inf)
        except CallTimeout:
            results.append(f"timeout of {timeout}")
        else:
            with connected.raw_socket as raw_socket:
                results.append(raw_socket.getpeername()[0])

    with that_drops_what_comes(port):
        address._best = (socket.AF_INET, (DEAD, port))  # where it was until now
        async with anyio.create_task_group() as group:
            group.start_soon(connect, 1.5)  # ends when another address is known, and leaves that unchanged
            await connect(0.2)
            await connect(5.0)
        await connect(5.0)
    assert results == ["timeout of 0.2", "127.0.0.1", "timeout of 1.5", "127.0.0.1"]
    assert lookups == ["some.test"] * 2


async def test_if_all_addresses_fail_the_error_is_that_of_the_first(
    resolver: Callable[..., list[str]],
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        resolver(DEAD, "127.0.0.1")
        with pytest.raises(ConnectionRefusedError):
            await Address("some.test", nobody.getsockname()[1]).connect()


async def test_a_silent_address_does_not_delay_the_next(
    port: int, resolver: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver(DEAD, "127.0.0.1")
    connected = address_module._connect
    opened = []

    async def silent(resolved: Any) -> socket.socket:
        opened.append(resolved[1][0])
        if resolved[1][0] == DEAD:
            await anyio.sleep_forever()
        return await connected(resolved)

    monkeypatch.setattr(address_module, "_connect", silent)
    monkeypatch.setattr(address_module, "CONNECTION_ATTEMPT_DELAY", 0.01)
    with await Address("some.test", port).connect() as raw_socket:
        assert raw_socket.getpeername()[0] == "127.0.0.1"
    assert opened == [DEAD, "127.0.0.1"]


async def test_after_a_refusal_the_next_address_is_tried_at_once(
    port: int, resolver: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver(DEAD, "127.0.0.1")
    monkeypatch.setattr(address_module, "CONNECTION_ATTEMPT_DELAY", 60.0)
    with anyio.fail_after(20):
        (await Address("some.test", port).connect()).close()


@pytest.mark.parametrize("host", ["[::1%lo]", "[::1%25lo]", "[::1]", "127.1"])
async def test_an_address_is_used_as_written(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server(("::1" if ":" in host else "127.0.0.1", 0), family=family) as listener:
        port = listener.getsockname()[1]
        address = Address(host.strip("[]"), port)
        (await address.connect()).close()
        connection, _ = listener.accept()
        connection.close()


async def test_an_unknown_scope_is_an_error() -> None:
    async with Client(base_url="http://[fe80::1%nosuch]:8000/v1", policies=[]) as client:
        with pytest.raises(ConnectError, match="no interface"):
            await client.request("GET", "/models")


@pytest.mark.parametrize("scope", ["", "%lo", "%25lo"])
def test_the_scope_of_an_address_is_not_sent(scope: str) -> None:
    written = Http1Writer(Endpoint(f"http://[::1{scope}]:8000/v1")).write(
        Request(None, "/models", "GET"), b"", streamed=False
    )
    assert b"\r\nHost: [::1]:8000\r\n" in written
    assert tls_name(f"::1{scope}") == "::1"
