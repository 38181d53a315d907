"""One of several processes: `python member_process.py URL REQUESTS_PER_MINUTE CALLS`.

It starts its calls at a line on stdin. At the end it prints when each call was sent, in seconds on the
machine's clock, which all processes share.
"""

from __future__ import annotations

import sys
import time

import anyio

from headrace import Call, Client, Reply
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport
from headrace_redis import Account


async def main(url: str, requests_per_minute: float, number: int) -> None:
    endpoint, sent_at = FakeEndpoint(), []

    async def handle(call: Call) -> Reply:
        sent_at.append(time.monotonic())
        return await endpoint.handle(call)

    account = Account(url=url, requests_per_minute=requests_per_minute, timeout=20)
    client = Client(
        base_url="http://fake.test/v1",
        model="m",
        policies=account.policies(),
        transport=MemoryTransport(handle),
    )
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    async with client, client.map(["Hallo"] * number) as outcomes:
        async for outcome in outcomes:
            outcome.unwrap()
    print(*sent_at)


anyio.run(main, sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
