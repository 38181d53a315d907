"""Which sockets are ready: by Linux's epoll, elsewhere by what `selectors` has for the system."""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE
from socket import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.transports.sockets.watched_socket import WatchedSocket


_READABLE = getattr(select, "EPOLLIN", 1)
_WRITABLE = getattr(select, "EPOLLOUT", 4)


class Poll(Protocol):
    """Watches sockets for `EVENT_READ` and `EVENT_WRITE`."""

    fileno: Callable[[], int]
    """The file that is readable when a socket is ready."""
    close: Callable[[], None]

    def add(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        """Watch a socket."""

    def change(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        """Watch it for other events."""

    def remove(self, raw_socket: socket) -> None:
        """Watch it no more."""

    def watched(self) -> list[WatchedSocket]:
        """All that are watched."""

    def serve(self, most: int | None = None) -> None:
        """Serve those that are ready, at most ``most`` of them where the system can be asked for so many."""


class Selector:
    """See `Poll`."""

    def __init__(self) -> None:
        selector = self._selector = selectors.DefaultSelector()
        self.fileno: Callable[[], int] = selector.fileno
        self.close = selector.close

    def add(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        self._selector.register(raw_socket, events, watched)

    def change(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        self._selector.modify(raw_socket, events, watched)

    def remove(self, raw_socket: socket) -> None:
        self._selector.unregister(raw_socket)

    def watched(self) -> list[WatchedSocket]:
        return [key.data for key in self._selector.get_map().values()]

    def serve(self, most: int | None = None) -> None:
        for key, events in self._selector.select(0):
            watched: WatchedSocket = key.data
            if events & EVENT_READ and not watched.closed:
                watched.readable()
            if events & EVENT_WRITE and not watched.closed:
                watched.writable()


class Epoll:
    """See `Poll`. `selectors` cannot ask for a few of those that are ready."""

    def __init__(self) -> None:
        epoll = self._epoll = select.epoll()
        self._watched: dict[int, WatchedSocket] = {}
        self._events: dict[int, int] = {}
        self.fileno: Callable[[], int] = epoll.fileno
        self.close = epoll.close

    def add(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        fileno = raw_socket.fileno()
        self._epoll.register(fileno, _flags(events))
        self._watched[fileno] = watched
        self._events[fileno] = events

    def change(self, raw_socket: socket, events: int, watched: WatchedSocket) -> None:
        fileno = raw_socket.fileno()
        self._epoll.modify(fileno, _flags(events))
        self._events[fileno] = events

    def remove(self, raw_socket: socket) -> None:
        fileno = raw_socket.fileno()
        del self._watched[fileno], self._events[fileno]
        self._epoll.unregister(fileno)

    def watched(self) -> list[WatchedSocket]:
        return list(self._watched.values())

    def serve(self, most: int | None = None) -> None:
        sockets = self._watched
        for fileno, flags in self._epoll.poll(0, most or len(sockets) or 1):
            watched = sockets.get(fileno)
            if watched is None:  # closed by one that was served before it
                continue
            if flags == _READABLE:
                watched.readable()
                continue
            events = self._events[fileno]
            if flags & ~_WRITABLE and events & EVENT_READ:  # an error or a hang-up is for both
                watched.readable()
            if flags & ~_READABLE and events & EVENT_WRITE and not watched.closed:
                watched.writable()


def _flags(events: int) -> int:
    return (_READABLE if events & EVENT_READ else 0) | (_WRITABLE if events & EVENT_WRITE else 0)


def new_poll() -> Poll:
    """The one that serves best on this system."""
    return Epoll() if hasattr(select, "epoll") else Selector()
