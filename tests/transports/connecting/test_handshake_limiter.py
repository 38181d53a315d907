"""A few TLS handshakes start at a time, in order, and their wait does not count as connect time."""

from __future__ import annotations

import random
import socket
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing

from headrace import CallTimeout, Timeout
from headrace.transports.connecting.handshake_limiter import HandshakeLimiter
from headrace.transports.connecting.pool_group import PoolGroup
from headrace.transports.connecting.timed_connector import TimedConnector
from headrace.transports.sockets.watched_socket import ConnectedSocket

on_both = pytest.mark.anyio


@on_both
async def test_a_few_handshakes_start_in_each_turn_of_the_event_loop() -> None:
    limiter, begun, at_once = (
        HandshakeLimiter(starts_per_turn=3, max_concurrent=100),
        list[int](),
        list[int](),
    )

    async def shake_hands(number: int) -> None:
        async with limiter:
            begun.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(shake_hands, number)
        while len(begun) < 20:
            before = len(begun)
            await anyio.lowlevel.checkpoint()
            at_once.append(len(begun) - before)
    assert max(at_once) <= 6, "tasks of one turn run in any order"


@on_both
async def test_handshakes_in_progress_are_limited_and_fifo() -> None:
    limiter, requested, begun, under_way = (
        HandshakeLimiter(starts_per_turn=1, max_concurrent=5),
        list[int](),
        list[int](),
        set[int](),
    )
    ends = [anyio.Event() for _ in range(40)]

    async def shake_hands(number: int) -> None:
        requested.append(number)
        async with limiter:
            begun.append(number)
            under_way.add(number)
            await ends[number].wait()
            under_way.remove(number)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(shake_hands, number)
        for left in range(40, 0, -1):
            await anyio.wait_all_tasks_blocked()
            assert len(under_way) == min(5, left)
            ends[min(under_way)].set()
    assert begun == requested


@on_both
@pytest.mark.parametrize("seed", range(20))
async def test_handshakes_cancelled_at_any_moment_leave_no_slot_taken(seed: int) -> None:
    chance, limiter, ended = (
        random.Random(seed),
        HandshakeLimiter(starts_per_turn=2, max_concurrent=3),
        list[str](),
    )

    async def shake_hands(scope: anyio.CancelScope, steps: int) -> None:
        with scope:
            async with limiter:
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                ended.append("well")
        if scope.cancelled_caught:
            ended.append("cancelled")

    scopes = [anyio.CancelScope() for _ in range(60)]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for scope in scopes:
                group.start_soon(shake_hands, scope, chance.randrange(4))
            for scope in chance.sample(scopes, 30):
                for _ in range(chance.randrange(3)):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert len(ended) == 60
        async with anyio.create_task_group() as group:  # as many at once as before
            for _ in range(3):
                group.start_soon(shake_hands, anyio.CancelScope(), 0)
    assert ended[-3:] == ["well"] * 3


class SlowServer:
    """A connector whose handshakes take six seconds each, one at a time."""

    where = "slow.example:443"

    def __init__(self) -> None:
        self.limiter = HandshakeLimiter(max_concurrent=1)

    def connect_nowait(self) -> None:
        return None

    def on_connect_timeout(self, started: float) -> None:
        assert started

    async def connect(self, protocols: Any) -> ConnectedSocket:
        await anyio.sleep(6)
        return ConnectedSocket(socket.socket())


def test_the_wait_for_a_handshake_counts_only_for_the_total_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    connected, failed = list[float](), list[str]()

    async def connect(connector: TimedConnector, end: float) -> None:
        try:
            opened = await connector.connect(["http/1.1"], Timeout(60.0, connect=10.0), end)
        except CallTimeout as error:
            failed.append(error.phase)
            return
        connected.append(trio.current_time())
        opened.raw_socket.close()

    async def main() -> None:
        connector = TimedConnector(SlowServer(), PoolGroup())  # type: ignore[arg-type]
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(connect, connector, start + 61)
        assert [round(at - start) for at in connected] == [6 * number for number in range(1, 11)]
        assert failed == ["connect"] * 2

    trio.run(main, clock=autojump_clock)
