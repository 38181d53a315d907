"""Several endpoints in memory, for tests of what chooses among them."""

from __future__ import annotations

from typing import Any

import headrace
from headrace import Call, Client, Endpoint, Reply
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport


class World:
    """Some endpoints in memory, by name."""

    def __init__(self, **fakes: FakeEndpoint) -> None:
        self.fakes = fakes

    async def handle(self, call: Call) -> Reply:
        return await self.fakes[call.endpoint.name].handle(call)

    def client(self, *policies: headrace.Policy, **more: Any) -> Client:
        limits = more.pop("limits", {})
        endpoints = [
            Endpoint(
                f"http://{name}.test/v1", name=name, max_in_flight=limits.get(name), **more.get(name, {})
            )
            for name in self.fakes
        ]
        keywords = {name: value for name, value in more.items() if name not in self.fakes}
        return Client(
            endpoints=endpoints,
            policies=policies,
            transport=MemoryTransport(self.handle),
            **{"model": "m"} | keywords,
        )

    @property
    def attempts(self) -> dict[str, int]:
        return {name: len(fake.attempts) for name, fake in self.fakes.items()}


class Ear:
    """Remembers the events that it is told."""

    name = "ear"

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def notify(self, event: headrace.Event) -> None:
        self.heard.append((event.name, dict(event.data)))
