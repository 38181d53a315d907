"""What is said over a connected socket before a connection is a pool's; driven by the poller."""

from __future__ import annotations

from socket import socket
from typing import TYPE_CHECKING

from headrace.transports.sockets.watched_socket import Connected, WatchedSocket

if TYPE_CHECKING:
    from headrace.transports.event_loops.event_loop import Waiter
    from headrace.transports.event_loops.poller import Poller


class Negotiation(WatchedSocket):
    """Sends, and takes what comes, until that is enough; the task that waits for it is woken once.

    The socket is its next owner's once it is over, and closed where it fails.
    """

    __slots__ = ("_complete", "_error", "_waiter")

    def __init__(self, raw_socket: socket, poller: Poller) -> None:
        try:
            super().__init__(Connected(raw_socket), poller)
        except BaseException:
            raw_socket.close()
            raise
        self._error: Exception | None = None
        self._complete = False
        self._waiter: Waiter | None = None

    # For subclasses to define; what they raise comes out of `over`.

    def begin(self) -> bool:
        """Say the first word; True where nothing has to come."""
        raise NotImplementedError

    def go_on(self, data: bytes) -> bool:
        """These bytes have come; True once that is enough."""
        raise NotImplementedError

    def lost(self) -> Exception:
        """The error for a connection that the other side closes in the midst of it."""
        raise NotImplementedError

    # For all.

    async def over(self) -> None:
        """Begin, and wait for the end."""
        try:
            self._complete = self.begin()
            if not self._complete or self._rest:
                waiter = self._waiter = self._poller.new_waiter()
                await waiter
            if self._error is not None:
                raise self._error
        except BaseException:
            self._waiter = None
            self.abort()
            raise
        self._watch(0)

    def received(self, data: bytes) -> None:
        """See `WatchedSocket.received`."""
        self._complete = self.go_on(data)
        if self._complete and not self._rest:
            self._wake()

    def broken(self, error: Exception | None) -> None:
        """See `WatchedSocket.broken`."""
        self._error = error or self.lost()
        self._wake()

    def sent_all(self) -> None:
        """See `WatchedSocket.sent_all`."""
        if self._complete:
            self._wake()

    def cut_off(self) -> None:
        """See `WatchedSocket.cut_off`."""
        self.broken(ConnectionAbortedError("this side closed it"))

    def _wake(self) -> None:
        self._watch(0)
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
