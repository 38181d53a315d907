"""The handlers that a poller calls: of a socket, and of a timer."""

from __future__ import annotations

from typing import Protocol


class SocketHandler(Protocol):
    """The owner of a watched socket."""

    closed: bool

    def on_readable(self) -> None:
        """Bytes have arrived, or the end of the connection."""

    def on_writable(self) -> None:
        """The socket has room for more bytes."""

    def on_poller_closed(self) -> None:
        """The poller is closed; the socket must be closed too."""

    def send_now(self, data: bytes) -> None:
        """Send data that was queued with `Poller.queue_send`."""


class TimerHandler(Protocol):
    """An object that has set a timer."""

    closed: bool

    def on_timer(self, now: float, /) -> None:
        """Handle the end of a timer."""
