"""An endpoint that holds its answers back until a test lets them go."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace.calls import Call
from headrace.replies import Reply
from headrace.testing import FakeEndpoint


class HeldEndpoint(FakeEndpoint):
    """A `FakeEndpoint` whose answers wait while it is held.

    Attributes:
        held: Whether answers are held back.
    """

    def __init__(self, *steps: object, held: bool = True) -> None:
        super().__init__(*steps)  # type: ignore[arg-type]
        self.held = held
        self._changed = anyio.Event()

    def release(self, *, held: bool = False) -> None:
        """Let the answers go that are held back; further ones are held if ``held`` is set."""
        self.held = held
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _answer(self, step: object, call: Call) -> Reply:
        if self.held:
            await self._changed.wait()
        return await super()._answer(step, call)  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    """Give other tasks turns until a condition holds."""
    with anyio.fail_after(3):
        while not condition():  # noqa: ASYNC110 - tests ask about things that have no event
            await anyio.sleep(0.001)
