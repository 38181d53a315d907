"""`python -m tests.cancellation.http2`: cancel one stream among a hundred of a connection, many times.

Each time the other calls are answered undisturbed, over the existing connections. Calls that are cancelled at
any moment leave nothing behind. With ``--url`` it uses your own server (an HTTP/2 endpoint; ``SSL_CERT_FILE``
sets its authority), otherwise it starts one.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import h2.config
import h2.connection
import h2.events
import h2.exceptions
from tests.cancellation.campaign import LeftBehindError

from headrace import CallError, Client
from headrace.transports.http2.connection import Http2Connection
from headrace.transports.http2.connection_pool import Http2Pool
from headrace.transports.native import NativeTransport

TOGETHER = 100
"""Calls at once: as many as a connection carries."""

ANSWER = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'

CALMED = 200
"""Rounds after which the memory must stay the same."""


@attrs.define
class Figures:
    """The results of a campaign.

    Attributes:
        ends: How calls ended: ``ok``, ``cancelled`` or the code of their error.
        connections: Connections that were opened.
        objects: Growth of the number of Python objects since the first rounds.
        resident: Growth of memory since then, in KiB.
    """

    ends: Counter[str] = attrs.field(factory=Counter)
    connections: int = 0
    objects: int = 0
    resident: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {number:,}" for end, number in self.ends.most_common())
        grown = f"then {self.objects:+,} objects and {self.resident:+,} KiB"
        return f"{ends}; {self.connections} connections, {grown}"


class Answers:
    """An HTTP/2 server over plain http that answers once ``together`` requests have arrived."""

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        streams: list[int] = []
        with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            async with stream:
                await stream.send(connection.data_to_send())
                while True:
                    for event in connection.receive_data(await stream.receive()):
                        if isinstance(event, h2.events.StreamEnded):
                            streams.append(event.stream_id)
                        elif isinstance(event, h2.events.DataReceived):
                            connection.acknowledge_received_data(
                                event.flow_controlled_length, event.stream_id
                            )
                    for number in streams:
                        with contextlib.suppress(h2.exceptions.ProtocolError):  # the stream is reset
                            connection.send_headers(number, [(":status", "200")])
                            connection.send_data(number, ANSWER, end_stream=True)
                    streams.clear()
                    if data := connection.data_to_send():
                        await stream.send(data)


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[str]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, Answers().serve)
        yield f"http://127.0.0.1:{port}/v1"
        group.cancel_scope.cancel()


def perform(rounds: int, calls: int, seed: int, backend: str, url: str | None = None) -> Figures:
    """Cancel one call of a hundred in each of ``rounds`` rounds, then cancel ``calls`` at random moments.

    Raises:
        LeftBehindError: A call failed that was not cancelled, a connection was lost, or something is left.
    """
    return anyio.run(_perform, rounds, calls, random.Random(seed), url, backend=backend)


async def _perform(rounds: int, calls: int, rng: random.Random, url: str | None) -> Figures:
    figures = Figures()
    files = _open_files()
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            url = await stack.enter_async_context(_server())
        client = await stack.enter_async_context(
            Client(
                base_url=url,
                model="m",
                policies=[],
                max_in_flight=2 * TOGETHER,
                timeout=30.0,
                http2=True,
            )
        )
        await _call(client, figures)
        objects, resident = 0, 0
        for number in range(rounds):
            await _round(client, rng, figures)
            if number == min(CALMED, rounds // 2):
                objects, resident = _memory()
        figures.objects, figures.resident = (
            now - then for now, then in zip(_memory(), (objects, resident), strict=True)
        )
        _check(client, figures, lost=1)
        await _at_random(client, calls, rng, figures)
        _check(client, figures, lost=None)
    gc.collect()
    if _open_files() > files:
        raise LeftBehindError(f"{_open_files() - files} files")
    return figures


async def _round(client: Client, rng: random.Random, figures: Figures) -> None:
    victim, spins = rng.randrange(TOGETHER), rng.randrange(12)
    scope = anyio.CancelScope()
    begun = 0

    async def one(number: int) -> None:
        nonlocal begun
        begun += 1
        if number != victim:
            await _call(client, figures)
            return
        with scope:
            await _call(client, figures)
        if scope.cancelled_caught:
            figures.ends["cancelled"] += 1

    async with anyio.create_task_group() as group:
        for number in range(TOGETHER):
            group.start_soon(one, number)
        while begun < TOGETHER:
            await anyio.lowlevel.checkpoint()
        for _ in range(spins):
            await anyio.lowlevel.checkpoint()
        scope.cancel()


async def _call(client: Client, figures: Figures) -> None:
    try:
        await client.request("POST", "/chat/completions", {"messages": []})
    except CallError as error:
        raise LeftBehindError(f"a call that nobody cancelled failed: {error}") from error
    figures.ends["ok"] += 1


async def _at_random(client: Client, calls: int, rng: random.Random, figures: Figures) -> None:
    """Cancel calls at random moments: whole ones, streams that are left early, and waits for a stream."""

    async def some(count: int) -> None:
        for _ in range(count):
            end = "cancelled"
            with anyio.move_on_after(rng.random() * 0.1):
                try:
                    await client.request(
                        "POST", "/chat/completions", {"text": "x" * rng.choice((1, 200_000))}
                    )
                    end = "ok"
                except CallError as error:
                    end = error.code
            figures.ends[end] += 1

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(some, calls // 100)


def _pool(client: Client) -> Http2Pool:
    transport: Any = client._transport
    assert isinstance(transport, NativeTransport)
    (sender,) = transport._senders.values()
    pool = sender._pool  # type: ignore[union-attr]
    assert isinstance(pool, Http2Pool)
    return pool


def _check(client: Client, figures: Figures, lost: int | None) -> None:
    pool = _pool(client)
    left: dict[str, object] = {}
    figures.connections = pool.open_count
    if lost is not None and pool.open_count != lost:
        left["connections"] = pool.open_count
    if pool._waiting or pool._opening:
        left["waiting"] = len(pool._waiting) + pool._opening
    if client.in_flight:
        left["in flight"] = client.in_flight
    for connection in pool._connections:
        connection.flush()
        if (
            connection.active_streams
            or connection._uploads
            or connection.free_streams != connection._max_streams
        ):
            left["streams"] = (connection.active_streams, connection.free_streams, connection._max_streams)
    gc.collect()
    connections = [found for found in gc.get_objects() if type(found) is Http2Connection]
    still_open = sum(not connection.closed for connection in connections)
    if still_open != pool.open_count:
        left["connections that no pool has"] = still_open - pool.open_count
    if left:
        raise LeftBehindError(str(left))


def _memory() -> tuple[int, int]:
    """How many objects there are, and the KiB of memory of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(gc.get_objects()), pages * resource.getpagesize() // 1024


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cancellation.http2", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=10_000, help="of a hundred calls each (%(default)s)")
    parser.add_argument("--calls", type=int, default=5000, help="cancelled at random (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other moments (%(default)s)")
    parser.add_argument("--backend", choices=("trio", "asyncio"), help="just this one")
    parser.add_argument("--url", help="an endpoint that speaks HTTP/2")
    options = parser.parse_args()
    for backend in [options.backend] if options.backend else ("trio", "asyncio"):
        began = time.monotonic()
        try:
            figures = perform(options.rounds, options.calls, options.seed, backend, options.url)
        except LeftBehindError as error:
            sys.exit(f"python -m tests.cancellation.http2: {backend}: {error}")
        print(f"{backend}, {time.monotonic() - began:.0f} s: {figures}", flush=True)


if __name__ == "__main__":
    main()
