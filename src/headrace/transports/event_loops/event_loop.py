"""What a `Poller` needs of an event loop, in a file for each kind."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeAlias

Waiter: TypeAlias = Awaitable[Any]
"""What a task awaits until it is woken."""


class Loop(Protocol):
    """An event loop that watches a poller's file."""

    def new_waiter(self) -> Waiter:
        """What a task may await."""

    def wake(self, waiter: Any) -> None:
        """Have the task that awaits ``waiter`` go on, unless it was cancelled."""

    def send_after_ready_tasks(self) -> None:
        """Call the poller's `send_all` when all tasks that are ready have had their turn."""

    def alarm_at(self, when: float) -> None:
        """Call the poller's `ring` at ``when``, which is before any other time asked for."""

    async def aclose(self) -> None:
        """End what runs for the poller."""
