"""Few attempts are made to a dead endpoint, even if other calls wait in inner policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import anyio
import attrs
import pytest

import headrace
from headrace import Call, Policy, Reply, Send, Stage
from headrace.transports.memory import MemoryTransport
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_retry import Retry


@attrs.frozen
class Turns:
    """Lets each attempt wait for its turn in `Call.waiting`."""

    name: str = "turns"
    stage: Stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        async def wait(call: Call) -> Reply:
            async with call.waiting():
                await anyio.sleep(0.2)
            return await send(call)

        return wait


WAITING: dict[str, Callable[[], list[Policy]]] = {
    "none": list,
    "adaptive": lambda: [Adaptive(start=50)],
    "adaptive and turns": lambda: [Adaptive(start=50), Turns()],
}


@pytest.mark.anyio
@pytest.mark.parametrize("waiting", WAITING)
@pytest.mark.parametrize("delay", [0.0, 0.05], ids=["at once", "after 50 ms"])
async def test_five_thousand_chats_to_a_dead_endpoint_make_fewer_than_200_attempts(
    delay: float, waiting: str
) -> None:
    attempts = 0

    async def refuse(call: Call) -> Reply:
        nonlocal attempts
        attempts += 1
        if delay:
            await anyio.sleep(delay)
        raise headrace.ConnectError("connection refused")

    outcomes: Counter[str] = Counter()

    async def chat() -> None:
        try:
            await client.chat("?")
        except headrace.CallError as error:
            outcomes[error.code] += 1

    client = headrace.Client(
        base_url="http://dead.test/v1",
        model="m",
        policies=[Retry(base=0.05), Breaker(), *WAITING[waiting]()],
        max_in_flight=100,
        transport=MemoryTransport(refuse),
    )
    async with client, anyio.create_task_group() as group:
        for _ in range(5000):
            group.start_soon(chat)
    assert attempts < 200
    assert outcomes.keys() <= {"connect_error", "circuit_open"}
    assert outcomes.total() == 5000
