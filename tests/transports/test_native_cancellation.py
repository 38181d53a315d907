"""Calls that are cancelled or cannot connect return their slot, and the pool stays usable."""

from __future__ import annotations

import heapq
import random
import resource
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from headrace import CallTimeout, HeadraceError, Timeout
from headrace.transports.connecting.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.transports.conftest import Connect, Peer, Serve

    from headrace import Client

BIG = "x" * 30_000_000

MOST_STEPS = 240
"""Twice the steps that the server makes while a call waits for a slot and is answered."""


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a host that neither accepts nor refuses connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())  # fills the backlog, which is never emptied
        yield listener.getsockname()[1]


@pytest.mark.anyio
async def test_no_connection_in_time_is_a_connect_timeout(connect: Connect, serve: Serve, deaf: int) -> None:
    async with serve() as server, connect(server, base_url=f"http://127.0.0.1:{deaf}/v1") as client:
        for timeout, phase in ((Timeout(5, connect=0.15), "connect"), (Timeout(0.15), "connect")):
            with anyio.fail_after(3), pytest.raises(CallTimeout, match=r"0\.15 s") as caught:
                await client.request("POST", "/a", {}, timeout=timeout)
            assert caught.value.phase == phase
            assert caught.value.retryable
            assert client.in_flight == 0


@pytest.mark.anyio
async def test_a_call_is_cancelled_while_connecting(
    connect: Connect, serve: Serve, deaf: int, open_files: Callable[[], int]
) -> None:
    async with serve() as server, connect(server, base_url=f"http://127.0.0.1:{deaf}/v1") as client:
        # The first round opens the transport's own files.
        after: list[int] = []
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(client.request, "POST", "/a", {})
                await anyio.wait_all_tasks_blocked()
                assert client.in_flight == 5
                group.cancel_scope.cancel()
            assert client.in_flight == 0
            await anyio.wait_all_tasks_blocked()
            after.append(open_files())
        assert after[1] <= after[0]


@pytest.mark.anyio
async def test_a_call_is_cancelled_during_the_tls_handshake(serve: Serve, connect: Connect) -> None:
    async def say_nothing(peer: Peer) -> None:
        while await peer.stream.receive():
            pass

    async with serve(say_nothing) as server:
        url = server.url.replace("http:", "https:")
        async with connect(server, base_url=url) as client, anyio.create_task_group() as group:
            group.start_soon(client.request, "POST", "/a", {})
            await server.until(lambda: server.open == 1)
            group.cancel_scope.cancel()
        assert client.in_flight == 0
        await server.until(lambda: server.open == 0)


@pytest.mark.anyio
async def test_a_loop_that_is_blocked_while_connecting_causes_no_timeout(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked: list[bool] = []

    connected = Address.connect

    async def blocking(address: Address) -> Any:
        if not blocked:
            blocked.append(True)
            time.sleep(0.4)  # noqa: ASYNC251 - another task computes for too long
        return await connected(address)

    monkeypatch.setattr(Address, "connect_nowait", lambda address: None)
    monkeypatch.setattr(Address, "connect", blocking)
    async with serve() as server, connect(server) as client:
        await client.request("POST", "/a", {}, timeout=Timeout(5, connect=0.2))
    assert blocked


@pytest.mark.anyio
@pytest.mark.parametrize("phase", ["writing", "reading the head", "reading the body"])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_call_can_be_cancelled_at_each_stage(
    serve: Serve, connect: Connect, phase: str, kept: bool
) -> None:
    arrived = anyio.Event()

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            if kept:
                await peer.request()
                await peer.answer()
            if phase == "writing":
                await peer.stream.receive()
                arrived.set()
                await peer.read_slowly()
            await peer.request()
            if phase == "reading the body":
                await peer.send(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"target":')
            arrived.set()
            await peer.request()
        else:
            await peer.answer_all()

    async with serve(script) as server, connect(server) as client:
        if kept:
            await client.request("POST", "/a", {})
        async with anyio.create_task_group() as group:
            text = BIG if phase == "writing" else ""
            group.start_soon(client.request, "POST", "/cancelled", {"text": text})
            await arrived.wait()
            await anyio.wait_all_tasks_blocked()
            assert client.in_flight == 1
            group.cancel_scope.cancel()
        assert client.in_flight == 0
        for name in ("b", "c"):
            assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
        assert server.accepted == 2


@pytest.mark.anyio
async def test_ten_thousand_calls_are_cancelled_at_random_moments(
    serve: Serve, connect: Connect, open_files: Callable[[], int]
) -> None:
    """With twice as many tasks as slots. The moments are steps of the server, because machines differ."""
    rng = random.Random(1)
    answered = wrong = steps = 0
    cancellations: list[tuple[int, int, anyio.CancelScope]] = []

    def step() -> None:
        nonlocal steps
        steps += 1
        while cancellations and cancellations[0][0] <= steps:
            heapq.heappop(cancellations)[2].cancel()

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            step()
            answer = b'{"target":"%s"}' % seen.target.encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer)
            if rng.random() < 0.1:
                await anyio.sleep(rng.random() * 0.01)
            await peer.send(head + answer[:5])
            step()
            if rng.random() < 0.3:
                await anyio.lowlevel.checkpoint()
            await peer.send(answer[5:])
            step()

    async with serve(script) as server:
        await anyio.wait_all_tasks_blocked()
        before = open_files()
        async with connect(server, max_in_flight=20) as client:

            async def some_calls(first: int) -> None:
                nonlocal answered, wrong
                for number in range(first, first + 250):
                    with anyio.CancelScope() as scope:
                        heapq.heappush(cancellations, (steps + rng.randrange(MOST_STEPS), number, scope))
                        reply = await client.request("POST", f"/{number}", {"n": number})
                        answered += 1
                        wrong += reply.body != {"target": f"/v1/{number}"}

            async with anyio.create_task_group() as group:
                for first in range(0, 10_000, 250):
                    group.start_soon(some_calls, first)
            assert client.in_flight == 0
            for number in range(40):
                reply = await client.request("POST", f"/after-{number}", {})
                assert reply.body == {"target": f"/v1/after-{number}"}
            assert wrong == 0
            assert 500 < answered < 9500, "the test proves nothing: all calls were cancelled, or none"
        await server.until(lambda: server.open == 0)
        assert open_files() <= before


AT_ONCE = """
import resource, sys, anyio, headrace
from headrace.testing.server import Behaviour, endpoint_process
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
async def main():
    async with endpoint_process(Behaviour(latency=1.5)) as endpoint:
        async with headrace.Client(
            base_url=endpoint.base_url, model="m", policies=[], max_in_flight=5000, timeout=60
        ) as client:
            most_in_flight = 0
            async with client.map(["Hello"] * 5000) as outcomes:
                async for outcome in outcomes:
                    outcome.unwrap()
                    most_in_flight = max(most_in_flight, client.in_flight)
            print(most_in_flight, client.in_flight)
anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5200, reason="too few files allowed")
def test_five_thousand_calls_at_once_from_a_cold_client(backend: str) -> None:
    command = [sys.executable, "-c", AT_ONCE, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    most, left = map(int, done.stdout.split())
    assert most > 2500, "the calls did not run at the same time"
    assert left == 0


@pytest.mark.anyio
async def test_closing_a_client_ends_attempts_in_progress_and_leaves_no_file_open(
    serve: Serve, connect: Connect, open_files: Callable[[], int]
) -> None:
    async def say_nothing(peer: Peer) -> None:
        while await peer.request():
            pass

    ended: list[str] = []

    async def call(client: Client) -> None:
        with pytest.raises(HeadraceError) as caught:
            await client.request("POST", "/a", {})
        ended.append(str(caught.value))

    async with serve(say_nothing) as server:
        before = open_files()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group, connect(server) as client:
                for _ in range(3):
                    group.start_soon(call, client)
                await server.until(lambda: len(server.requests) == 3)
        assert len(ended) == 3
        assert all("closed" in end for end in ended)
        await server.until(lambda: server.open == 0)
        await anyio.wait_all_tasks_blocked()
        assert open_files() <= before
