"""The interface of an event loop for a poller; asyncio and trio each have an implementation."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeAlias

Waiter: TypeAlias = Awaitable[Any]
"""An object that a task awaits until it is woken."""


class LoopCallbacks(Protocol):
    """The callbacks of an event loop. `Poller` implements them."""

    def fileno(self) -> int:
        """The file to watch: it is readable when a socket is ready."""

    def on_readable(self) -> None:
        """The watched file is readable. The loop calls this again while it stays readable."""

    def on_timer(self) -> float | None:
        """The timer has ended. Returns when to call again, or None."""

    def send_queued(self) -> None:
        """Send the queued data of all tasks."""

    def has_queued(self) -> bool:
        """Whether anything is queued."""


class EventLoop(Protocol):
    """An event loop that watches one file and has one timer."""

    def new_waiter(self) -> Waiter:
        """A new object for a task to await."""

    def wake(self, waiter: Any) -> None:
        """Resume the task that awaits ``waiter``, unless the task was cancelled."""

    def schedule_send(self) -> None:
        """Call `LoopCallbacks.send_queued` after all tasks that are ready have run."""

    def set_timer(self, when: float) -> None:
        """Call `LoopCallbacks.on_timer` at ``when``, which is earlier than any time set before."""

    async def aclose(self) -> None:
        """Stop all callbacks."""
