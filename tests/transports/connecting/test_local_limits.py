"""A machine with no connection left: the error names the limit, attempts wait for others, no endpoint is
blamed.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from headrace import Client, Endpoint, LocalResourceError
from headrace.testing import FakeEndpoint
from headrace.transports.connecting import address as address_module
from headrace.transports.connecting.address import Address
from headrace.transports.connecting.local_limits import LOCAL_ERRNOS, ResourceShortage, local_resource_error
from headrace_breaker import Breaker
from headrace_retry import Retry
from headrace_route import Route

if TYPE_CHECKING:
    from tests.transports.conftest import Connect, Peer, Serve

pytestmark = pytest.mark.anyio

FEW_FILES = """
import collections, os, resource, sys, anyio, headrace
from headrace.transports.httpx import HttpxTransport

async def calls(client, first):
    requests = [headrace.Request(None, f"/{first + n}", "GET") for n in range(100)]
    async with client.map(requests) as outcomes:
        return collections.Counter(["ok" if one.ok else str(one.error) async for one in outcomes])

async def main():
    backend, transport, free, policies, url = sys.argv[1:]
    keywords = {"policies": []} if policies == "none" else {"retry": {"base": 0.01, "jitter": "none"}}
    transport = HttpxTransport() if transport == "httpx" else "native"
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    async with headrace.Client(
        base_url=url, model="m", max_in_flight=100, transport=transport, **keywords
    ) as client:
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for number in held[:int(free)]:
            os.close(number)
        print(dict(await calls(client, 0)))
        for number in held[int(free):]:
            os.close(number)
        print(dict(await calls(client, 100)))

anyio.run(main, backend=sys.argv[1])
"""

KINDS = pytest.mark.parametrize(
    ("backend", "transport"),
    [(backend, transport) for backend in ("asyncio", "trio") for transport in ("native", "httpx")],
)


async def with_few_files(serve: Serve, *arguments: str, host: str = "127.0.0.1") -> list[str]:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await anyio.sleep(0.01)
            await peer.answer()

    async with serve(script) as server:
        command = [sys.executable, "-c", FEW_FILES, *arguments, f"http://{host}:{server.port}/v1"]
        done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@KINDS
@pytest.mark.parametrize("policies", ["none", "installed"])
def test_the_error_names_the_local_limit_and_later_calls_work(
    serve: Serve, backend: str, transport: str, policies: str
) -> None:
    during, after = anyio.run(with_few_files, serve, backend, transport, "0", policies)
    assert "this process may open 80 files; raise it with 'ulimit -n', or lower max_in_flight" in during
    assert "circuit" not in during
    assert during.endswith(": 100}"), "one reason for all of them"
    assert after == "{'ok': 100}"


@KINDS
@pytest.mark.parametrize(("free", "host"), [("3", "127.0.0.1"), ("3", "localhost"), ("40", "127.0.0.1")])
def test_with_few_connections_calls_wait_for_those_of_others(
    serve: Serve, backend: str, transport: str, free: str, host: str
) -> None:
    async def main() -> list[str]:
        return await with_few_files(serve, backend, transport, free, "none", host=host)

    assert anyio.run(main) == ["{'ok': 100}", "{'ok': 100}"]


SPARE_FILES = """
import os, resource, sys, anyio, headrace

async def make_calls(client):
    requests = [headrace.Request(None, f"/{n}", "GET") for n in range(300)]
    await client.map(requests).each(lambda outcome: print(outcome.error or "ok"))

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    async with headrace.Client(base_url=sys.argv[2], model="m", max_in_flight=300, policies=[]) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(make_calls, client)
            while client.in_flight < 60:
                await anyio.sleep(0.001)
            print("room", *[os.open(os.devnull, os.O_RDONLY) > 0 for _ in range(10)])

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_connections_leave_files_to_the_rest_of_the_process(serve: Serve, backend: str) -> None:
    async def main() -> list[str]:
        async def script(peer: Peer) -> None:
            while await peer.request():
                await anyio.sleep(0.05)
                await peer.answer()

        async with serve(script) as server:
            command = [sys.executable, "-c", SPARE_FILES, backend, f"http://127.0.0.1:{server.port}/v1"]
            done = await anyio.run_process(command, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().splitlines()

    lines = anyio.run(main)
    assert lines.count("ok") == 300
    assert "room" + " True" * 10 in lines


NO_CERTIFICATES = """
import os, resource
import ssl
from headrace.transports.connecting.ssl_context import default_ssl_context
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
try:
    while True:
        os.open(os.devnull, os.O_RDONLY)
except OSError:
    pass
try:
    default_ssl_context()
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("certificates", ["file", "certifi"])
def test_unreadable_certificates_are_an_error_and_not_an_empty_store(
    certificates: str, tmp_path: Any
) -> None:
    import certifi

    file = certifi.where() if certificates == "file" else str(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-c", NO_CERTIFICATES],
        env={**os.environ, "SSL_CERT_FILE": file, "SSL_CERT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Too many open files\n"


@pytest.fixture(params=sorted(LOCAL_ERRNOS), ids=lambda number: errno.errorcode[number])
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OSError:
    """The error of a local limit, with which each later socket fails."""
    fault = OSError(request.param, os.strerror(request.param))

    def refuse(*_: Any) -> socket.socket:
        raise fault

    monkeypatch.setattr(address_module, "_new_socket", refuse)
    return fault


async def test_each_local_limit_is_a_retryable_error_of_its_own_type(
    serve: Serve, connect: Connect, fault: OSError
) -> None:
    async with serve() as server, connect(server) as client:
        with pytest.raises(LocalResourceError) as caught:
            await client.request("POST", "/a", {})
    assert caught.value.retryable
    assert caught.value.__cause__ is fault
    assert f"127.0.0.1:{server.port}" in str(caught.value)


async def test_a_local_limit_does_not_cause_another_name_lookup(
    fault: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        lookups.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    address = Address("some.test", 80)
    address._best, address._expires_at = (socket.AF_INET, ("127.0.0.1", 80)), anyio.current_time() + 60
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            await address.connect()
        assert caught.value is fault
    assert not lookups


async def test_a_thread_that_cannot_start_is_a_local_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    async with Client(base_url="http://some.test/v1", policies=[]) as client:
        with pytest.raises(LocalResourceError, match="ulimit -u"):
            await client.request("GET", "/a")


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), ssl.SSLError(1, "no issuer")])
def test_an_ambiguous_error_counts_for_the_endpoint_while_files_can_be_opened(error: OSError) -> None:
    assert local_resource_error(error, "some.test:80") is None


async def test_an_unroutable_address_is_not_a_lack_of_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Like ::1 on a machine without IPv6.
    monkeypatch.setattr(address_module, "_has_route", lambda resolved: False)
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: errno.EADDRNOTAVAIL, raising=False)
    with pytest.raises(OSError) as caught:
        await Address("::1", 80).connect()
    assert caught.value.errno == errno.ENETUNREACH


async def test_with_several_addresses_a_local_limit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connected(resolved: Any) -> Any:
        number = errno.ECONNREFUSED if resolved[1][0] == "127.0.0.1" else errno.EMFILE
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(address_module, "_connect", connected)
    with pytest.raises(OSError) as caught:
        await address_module._happy_eyeballs(
            [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET, ("127.0.0.2", 80))]
        )
    assert caught.value.errno == errno.EMFILE


def limited(monkeypatch: pytest.MonkeyPatch, most: int) -> Callable[[], int]:
    """Limit the connections of this process. Returns a function for the maximum it had."""
    real, sockets, peak = address_module._new_socket, list[socket.socket](), 0

    def new_socket(family: int) -> socket.socket:
        nonlocal peak
        sockets[:] = [each for each in sockets if each.fileno() >= 0]
        if len(sockets) >= most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        sockets.append(real(family))
        peak = max(peak, len(sockets))
        return sockets[-1]

    monkeypatch.setattr(address_module, "_new_socket", new_socket)
    return lambda: peak


async def test_attempts_that_wait_for_a_connection_are_fifo(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 1)
    async with (
        serve() as server,
        connect(server, max_in_flight=50) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(50):
            group.start_soon(client.request, "POST", f"/{number}", {})
            await anyio.lowlevel.checkpoint()
    assert server.targets == [f"/v1/{number}" for number in range(50)]
    assert server.accepted == 1


async def test_idle_connections_of_another_endpoint_are_closed_to_make_room(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 1)
    async with serve() as one, serve() as other:
        endpoints = [
            Endpoint(one.url, models=["a"], name="one"),
            Endpoint(other.url, models=["b"], name="other"),
        ]
        async with Client(endpoints=endpoints, policies=[]) as client:
            for model in "abab":
                await client.request("POST", "/x", {"model": model})
    assert (len(one.requests), len(other.requests)) == (2, 2)


async def test_a_cancelled_waiter_leaves_the_connection_to_the_next(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 1)
    hold = anyio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            await hold.wait()
            await peer.answer()

    async with serve(script) as server, connect(server) as client:
        async with anyio.create_task_group() as group, anyio.create_task_group() as cancelled:
            group.start_soon(client.request, "POST", "/first", {})
            await server.until(lambda: len(server.requests) == 1)
            for number in range(10):
                (cancelled if number % 2 else group).start_soon(client.request, "POST", f"/{number}", {})
            await anyio.wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
            hold.set()
        assert sorted(server.targets) == ["/v1/0", "/v1/2", "/v1/4", "/v1/6", "/v1/8", "/v1/first"]
        assert client.in_flight == 0


async def test_a_wait_ends_if_nothing_is_released(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 1)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await anyio.sleep_forever()

    async with serve(silent) as server, connect(server) as client, anyio.create_task_group() as group:
        group.start_soon(_held, client)
        await server.until(lambda: len(server.requests) == 1)
        with pytest.raises(LocalResourceError, match="ulimit"):
            await client.request("POST", "/b", {}, timeout=0.05)
        group.cancel_scope.cancel()


async def _held(client: Client) -> None:
    await client.request("POST", "/a", {})


async def test_closing_the_client_ends_the_waits(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 1)
    ended = []

    async def silent(peer: Peer) -> None:
        await peer.request()
        await anyio.sleep_forever()

    async def call(client: Client, path: str) -> None:
        try:
            await client.request("POST", path, {})
        except Exception as error:
            ended.append(type(error).__name__)

    async with serve(silent) as server, anyio.create_task_group() as group, connect(server) as client:
        for number in range(3):
            group.start_soon(call, client, f"/{number}")
        await server.until(lambda: len(server.requests) == 1)
        await anyio.wait_all_tasks_blocked()
    assert len(ended) == 3


async def test_a_connection_given_to_a_cancelled_waiter_is_returned() -> None:
    returned: list[str] = []
    shortage = ResourceShortage[str](returned.append)
    error = LocalResourceError("none")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_waiting, shortage, error)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            shortage.release("a connection")
    assert returned == ["a connection"]
    assert not shortage.waiters


async def _waiting(shortage: ResourceShortage[str], error: LocalResourceError) -> None:
    await shortage.wait(error, None, again=False)


async def test_local_limits_do_not_affect_breaker_failover_or_retry_budget() -> None:
    shortages = [LocalResourceError("no file left")] * 60
    retry, breaker = (
        Retry(attempts=100, base=0.001, cap=0.001, budget=5),
        Breaker(minimum_calls=2, consecutive=2),
    )
    endpoint = FakeEndpoint(*shortages, "ok")
    async with endpoint.client([retry, breaker, Route()]) as client:
        assert (await client.chat("Hallo")).text == "ok"
    assert breaker.state("http://fake.test/v1") == "closed"
