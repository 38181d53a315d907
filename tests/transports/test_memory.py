"""The in-memory transport: its timeouts, and that it yields like a network transport."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from headrace import Call, CallTimeout, Endpoint, Headers, Reply, Request, Timeout, Transport
from headrace.transports.memory import MemoryTransport


def call(timeout: Timeout) -> Call:
    return Call(Request({}), Endpoint("http://memory.test"), b"{}", timeout, anyio.current_time())


async def answer(call: Call) -> Reply:
    return Reply(200, Headers([]), call.content)


def test_the_memory_transport_implements_the_protocol() -> None:
    assert isinstance(MemoryTransport(answer), Transport)


@pytest.mark.anyio
async def test_the_handlers_reply_is_returned() -> None:
    transport = MemoryTransport(answer)
    assert (await transport.send(call(Timeout(5)))).content == b"{}"
    assert (await transport.send(call(Timeout(None)))).content == b"{}"
    await transport.aclose()


@pytest.mark.anyio
async def test_the_handlers_error_is_raised() -> None:
    async def fail(call: Call) -> Reply:
        raise LookupError("x")

    with pytest.raises(LookupError):
        await MemoryTransport(fail).send(call(Timeout(5)))


@pytest.mark.trio
async def test_an_attempt_ends_at_its_timeout(autojump_clock: Any) -> None:
    async def sleep(call: Call) -> Reply:
        await anyio.sleep(3600)
        return await answer(call)

    start = anyio.current_time()
    with pytest.raises(CallTimeout, match="within 5 s") as caught:
        await MemoryTransport(sleep).send(call(Timeout(5)))
    assert caught.value.phase == "total"
    assert anyio.current_time() - start == pytest.approx(5)
    assert (await MemoryTransport(sleep).send(call(Timeout(None)))).status == 200


@pytest.mark.anyio
async def test_an_attempt_yields_to_the_event_loop() -> None:
    transport = MemoryTransport(answer)
    seen: list[str] = []

    async def attempt(name: str) -> None:
        for _ in range(3):
            await transport.send(call(Timeout(5)))
            seen.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(attempt, "a")
        group.start_soon(attempt, "b")
    assert seen not in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


@pytest.mark.anyio
async def test_a_cancelled_scope_ends_an_attempt_before_the_handler_runs() -> None:
    called: list[Call] = []

    async def note(call: Call) -> Reply:
        called.append(call)
        return await answer(call)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await MemoryTransport(note).send(call(Timeout(5)))
    assert scope.cancelled_caught
    assert called == []
