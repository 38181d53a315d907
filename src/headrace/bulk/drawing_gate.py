"""Whether a run may draw items: not while it is paused, and not once it stops."""

from __future__ import annotations

import anyio


class DrawingGate:
    """Opened and closed by `BulkRun.pause`, `BulkRun.resume` and `BulkRun.stop`.

    Attributes:
        closed: Whether no items may be drawn.
        paused: Whether the run is paused. The gate stays open if the executor itself sends nothing meanwhile.
        stopping: Set once the run stops, and never cleared.
    """

    def __init__(self) -> None:
        self.closed: bool = False
        self.paused: bool = False
        self.stopping: anyio.Event = anyio.Event()
        self._changed = anyio.Event()

    def pause(self, *, close: bool) -> None:
        """Pause the run; ``close`` also closes the gate."""
        self.paused, self.closed = True, self.closed or close

    def resume(self) -> None:
        """End the pause."""
        self.paused, self.closed = False, self.stopping.is_set()
        self._wake()

    def stop(self) -> None:
        """Close the gate for good."""
        self.closed = True
        self.stopping.set()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def wait_while_paused(self) -> bool:
        """Wait until the run may draw or stops; returns whether it was paused."""
        was_paused = False
        while self.paused and self.closed and not self.stopping.is_set():
            was_paused = True
            await self._changed.wait()
        return was_paused
