"""TLS handshakes begin a few at a time, in order, and wait for that on nobody's time but their own side's."""

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
from headrace.transports.connecting.handshake_limiter import Turns
from headrace.transports.connecting.timed_connector import Opener, Shared
from headrace.transports.sockets.watched_socket import Connected

on_both = pytest.mark.anyio


@on_both
async def test_a_few_begin_in_each_turn_of_the_event_loop() -> None:
    turns, begun, at_once = Turns(together=3, most=100), list[int](), list[int]()

    async def shake_hands(number: int) -> None:
        async with turns:
            begun.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(shake_hands, number)
        while len(begun) < 20:
            before = len(begun)
            await anyio.lowlevel.checkpoint()
            at_once.append(len(begun) - before)
    assert max(at_once) <= 6, "tasks of one turn have it in any order"


@on_both
async def test_no_more_than_allowed_are_under_way_first_come_first_served() -> None:
    turns, asked, begun, under_way = Turns(together=1, most=5), list[int](), list[int](), set[int]()
    ends = [anyio.Event() for _ in range(40)]

    async def shake_hands(number: int) -> None:
        asked.append(number)
        async with turns:
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
    assert begun == asked


@on_both
@pytest.mark.parametrize("seed", range(20))
async def test_turns_given_up_at_any_moment_come_back(seed: int) -> None:
    chance, turns, ended = random.Random(seed), Turns(together=2, most=3), list[str]()

    async def shake_hands(scope: anyio.CancelScope, steps: int) -> None:
        with scope:
            async with turns:
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
    """A connector whose every handshake takes six seconds, one at a time."""

    where = "slow.example:443"

    def __init__(self) -> None:
        self.turns = Turns(most=1)

    def connect_at_once(self) -> None:
        return None

    def timed_out(self, began: float) -> None:
        assert began

    async def connect(self, protocols: Any) -> Connected:
        await anyio.sleep(6)
        return Connected(socket.socket())


def test_the_wait_for_a_turn_is_not_of_the_connect_timeout_but_of_the_total_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    connected, failed = list[float](), list[str]()

    async def connect(opener: Opener, end: float) -> None:
        try:
            opened = await opener.open(["http/1.1"], Timeout(60.0, connect=10.0), end)
        except CallTimeout as error:
            failed.append(error.phase)
            return
        connected.append(trio.current_time())
        assert opened.connected is not None
        opened.connected.raw_socket.close()

    async def main() -> None:
        opener = Opener(SlowServer(), Shared())  # type: ignore[arg-type]
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(connect, opener, start + 61)
        assert [round(at - start) for at in connected] == [6 * number for number in range(1, 11)]
        assert failed == ["connect"] * 2

    trio.run(main, clock=autojump_clock)
