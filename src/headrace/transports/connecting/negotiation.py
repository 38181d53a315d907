"""A short exchange over a connected socket before a pool uses it; driven by the poller."""

from __future__ import annotations

from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.sockets.watched_socket import ConnectedSocket, WatchedSocket

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import Waiter
    from headrace.transports.event_loops.poller import Poller


class Negotiation(WatchedSocket):
    """Sends and receives until it is complete. The task that waits for it is woken once.

    Afterwards the next owner closes the socket; if the negotiation fails, it is already closed.
    """

    __slots__ = ("_complete", "_error", "_waiter")

    def __init__(self, raw_socket: socket, poller: Poller) -> None:
        try:
            super().__init__(ConnectedSocket(raw_socket), poller)
        except BaseException:
            raw_socket.close()
            raise
        self._error: Exception | None = None
        self._complete = False
        self._waiter: Waiter | None = None

    # Defined by subclasses; `run` raises their errors.

    def start(self) -> bool:
        """Send the first message. True if no reply is needed."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bool:
        """Process bytes that arrived. True once the negotiation is complete."""
        raise NotImplementedError

    def disconnected_error(self) -> Exception:
        """The error for a peer that closes the connection too early."""
        raise NotImplementedError

    # The same for all subclasses.

    async def run(self) -> None:
        """Start, and wait for the end."""
        try:
            self._complete = self.start()
            if not self._complete or self._unsent:
                waiter = self._waiter = self._poller.new_waiter()
                await waiter
            if self._error is not None:
                raise self._error
        except BaseException:
            self._waiter = None
            self.abort()
            raise
        self._watch(0)

    def on_received(self, data: bytes) -> None:
        """See `WatchedSocket.on_received`."""
        self._complete = self.feed(data)
        if self._complete and not self._unsent:
            self._wake()

    def on_disconnected(self, error: Exception | None) -> None:
        """See `WatchedSocket.on_disconnected`."""
        self._error = error or self.disconnected_error()
        self._wake()

    def on_drained(self) -> None:
        """See `WatchedSocket.on_drained`."""
        if self._complete:
            self._wake()

    def on_poller_closed(self) -> None:
        """See `WatchedSocket.on_poller_closed`."""
        self.on_disconnected(ConnectionAbortedError("this side closed it"))

    def _wake(self) -> None:
        self._watch(0)
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
