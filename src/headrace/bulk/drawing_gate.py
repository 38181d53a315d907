"""Whether a run may draw items: not while it is paused, and not once it stops."""

from __future__ import annotations

import anyio


class DrawingGate:
    """Opened and closed by `BulkRun.pause`, `BulkRun.resume` and `BulkRun.stop`.

    Attributes:
        closed: Whether no items may be drawn.
        paused: Whether the run is paused. The gate stays open if the executor itself sends nothing meanwhile.
            Then the drawing of an async input waits.
        interrupted: Whether the pass ends, so that the run can do something between two passes.
        stopping: Set once the run stops, and never cleared.
    """

    def __init__(self) -> None:
        self.closed: bool = False
        self.paused: bool = False
        self.interrupted: bool = False
        self.stopping: anyio.Event = anyio.Event()
        self._closed_by_pause = False
        self._changed = anyio.Event()

    def pause(self, *, close: bool) -> None:
        """Pause the run; ``close`` also closes the gate."""
        self.paused, self._closed_by_pause = True, close
        self._update()

    def resume(self) -> None:
        """End the pause."""
        self.paused = self._closed_by_pause = False
        self._update()

    def interrupt(self) -> None:
        """Close the gate until `proceed`."""
        self.interrupted = True
        self._update()

    def proceed(self) -> None:
        """End an interruption."""
        self.interrupted = False
        self._update()

    def stop(self) -> None:
        """Close the gate for good."""
        self.stopping.set()
        self._update()

    def _update(self) -> None:
        self.closed = self._closed_by_pause or self.interrupted or self.stopping.is_set()
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def wait_while_paused(self) -> None:
        """Wait until the run may draw or stops, if the gate was closed by a pause."""
        while self._closed_by_pause and not self.stopping.is_set():
            await self._changed.wait()

    async def hold(self) -> None:
        """Wait while the run is paused and the gate is open, so that a pause ends no pass."""
        while self.paused and not self.closed:
            await self._changed.wait()
