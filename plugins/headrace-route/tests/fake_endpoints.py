"""Several endpoints in memory, for tests of the route policy."""

from __future__ import annotations

from typing import Any

import headrace
from headrace import Call, Client, Endpoint, Reply
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport


class FakeEndpoints:
    """Endpoints in memory, by name."""

    def __init__(self, **fakes: FakeEndpoint) -> None:
        self.by_name = fakes

    async def handle(self, call: Call) -> Reply:
        return await self.by_name[call.endpoint.name].handle(call)

    def client(self, *policies: headrace.Policy, **more: Any) -> Client:
        limits = more.pop("limits", {})
        endpoints = [
            Endpoint(
                f"http://{name}.test/v1", name=name, max_in_flight=limits.get(name), **more.get(name, {})
            )
            for name in self.by_name
        ]
        keywords = {name: value for name, value in more.items() if name not in self.by_name}
        return Client(
            endpoints=endpoints,
            policies=policies,
            transport=MemoryTransport(self.handle),
            **{"model": "m"} | keywords,
        )

    @property
    def attempts(self) -> dict[str, int]:
        return {name: len(fake.attempts) for name, fake in self.by_name.items()}
