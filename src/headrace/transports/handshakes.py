"""TLS handshakes that a poller drives: the task that wants one is woken once, at its end."""

from __future__ import annotations

import ssl
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING

from headrace.transports.sockets import WatchedSocket

if TYPE_CHECKING:
    from headrace.transports.loops import Waiter
    from headrace.transports.poller import Poller


async def shake_hands(tls: ssl.SSLSocket, poller: Poller) -> None:
    """Complete the handshake of a connected socket, which is closed where that fails; raises `OSError`."""
    try:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:  # what is first to be written always has room
            await _Handshake(tls, poller).over()
    except BaseException:
        tls.close()
        raise


class _Handshake(WatchedSocket):
    """A socket that waits for the other side's part of a handshake."""

    __slots__ = ("_error", "_tls", "_waiter")

    def __init__(self, tls: ssl.SSLSocket, poller: Poller) -> None:
        super().__init__(tls, poller)
        self._tls = tls
        self._error: Exception | None = None
        self._waiter: Waiter | None = None

    async def over(self) -> None:
        """Wait for the end of the handshake; the socket is not watched any more then."""
        waiter = self._waiter = self._poller.new_waiter()
        try:
            await waiter
        finally:
            self._waiter = None
            self._watch(0)
        if self._error is not None:
            raise self._error

    def readable(self) -> None:
        """See `WatchedSocket.readable`."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(EVENT_READ)
        except ssl.SSLWantWriteError:
            self._watch(EVENT_WRITE)
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    writable = readable

    def cut_off(self) -> None:
        """See `WatchedSocket.cut_off`."""
        self._end(ConnectionAbortedError("this side closed it"))

    def _end(self, error: Exception | None) -> None:
        self._error = error
        self._watch(0)
        if self._waiter is not None:
            self._poller.wake(self._waiter)
            self._waiter = None
