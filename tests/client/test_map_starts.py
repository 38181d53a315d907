"""How fast the calls of a map begin: in portions, and not while this machine has no connection left."""

from __future__ import annotations

from collections import deque

import anyio
import pytest

from headrace import Call, Client, Headers, Reply
from headrace.client import map as map_module
from headrace.limiter_tokens import LackingConnection
from headrace.transports.memory import MemoryTransport

pytestmark = pytest.mark.anyio

ANSWER = b'{"choices":[{"message":{"content":"ok"}}]}'


def client_of(transport: MemoryTransport) -> Client:
    return Client(
        base_url="http://fake.test/v1", model="m", policies=[], transport=transport, max_in_flight=100_000
    )


class FewConnections:
    """A machine with ten connections; a released one goes to the call that has waited longest."""

    def __init__(self) -> None:
        self.free = 10
        self.begun = 0
        self.waiting: deque[anyio.Event] = deque()

    async def handle(self, call: Call) -> Reply:
        self.begun += 1
        if self.free:
            self.free -= 1
        else:
            released = anyio.Event()
            self.waiting.append(released)
            with LackingConnection(call):
                await released.wait()
        await anyio.sleep(0.001)
        if self.waiting:
            self.waiting.popleft().set()
        else:
            self.free += 1
        return Reply(200, Headers([]), ANSWER)


@pytest.mark.parametrize("each", [False, True])
async def test_no_further_calls_begin_while_one_lacks_a_connection(each: bool) -> None:
    machine = FewConnections()
    most, answered = 0, 0

    def note(_: object) -> None:
        nonlocal most, answered
        answered += 1
        most = max(most, machine.begun - answered)

    async with client_of(MemoryTransport(machine.handle)) as client:
        stream = client.map(map(str, range(5000)))
        if each:
            await stream.each(note)
        else:
            async with stream:
                async for outcome in stream:
                    note(outcome)
    assert answered == 5000
    assert most < 300, "those of a few portions"


async def test_calls_begin_again_when_the_machine_has_connections() -> None:
    lacking, begun = anyio.Event(), 0

    async def handle(call: Call) -> Reply:
        nonlocal begun
        begun += 1
        if begun == 10:
            with LackingConnection(call):
                await lacking.wait()
        await anyio.sleep_forever()
        raise AssertionError

    async with (
        client_of(MemoryTransport(handle)) as client,
        client.map(map(str, range(1000))),
    ):
        await anyio.wait_all_tasks_blocked()
        assert begun < 200
        lacking.set()
        await anyio.wait_all_tasks_blocked()
        assert begun == 1000


async def test_fewer_calls_begin_in_turns_that_last_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, begun, others = 0.0, 0, 0

    async def handle(call: Call) -> Reply:
        nonlocal clock, begun
        begun += 1
        clock += 1.0  # as if each connect took a second
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(map_module, "running_clock", lambda: lambda: clock)
    async with client_of(MemoryTransport(handle)) as client, client.map(map(str, range(1000))):
        while begun < 1000:
            await anyio.lowlevel.checkpoint()
            others += 1
    assert others > 400, "another task got its turns in between"


async def test_limits_that_are_set_many_times_begin_no_more_calls_in_a_turn() -> None:
    begun = 0

    async def handle(call: Call) -> Reply:
        nonlocal begun
        begun += 1
        await anyio.sleep_forever()
        raise AssertionError

    async with client_of(MemoryTransport(handle)) as client, client.map(map(str, range(10_000))):
        for number in range(100):
            client.limiter.total_tokens = 50_000 + number
        await anyio.lowlevel.checkpoint()
        assert begun <= 200
