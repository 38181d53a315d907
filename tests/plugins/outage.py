"""An endpoint with an outage, in virtual time."""

from __future__ import annotations

import trio

import headrace
from headrace.testing import Answer, FakeEndpoint


class Outage(FakeEndpoint):
    """An endpoint that answers after 0.5 s, and with 503 from ``begin`` to ``end``."""

    def __init__(self, begin: float, end: float) -> None:
        super().__init__()
        self.begin, self.end = begin, end

    def is_down(self, now: float) -> bool:
        return self.begin <= now < self.end

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        self.then(Answer(delay=0.5, status=503 if self.is_down(trio.current_time()) else 200))
        return await super().handle(call)
