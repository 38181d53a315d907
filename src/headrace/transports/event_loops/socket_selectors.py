"""Which sockets are ready: Linux's epoll directly, other systems through `selectors`."""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE
from socket import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.transports.event_loops.handlers import SocketHandler


_READABLE = getattr(select, "EPOLLIN", 1)
_WRITABLE = getattr(select, "EPOLLOUT", 4)


class SocketSelector(Protocol):
    """Watches sockets for `EVENT_READ` and `EVENT_WRITE`."""

    fileno: Callable[[], int]
    """The file that is readable when a socket is ready."""
    close: Callable[[], None]

    def add(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        """Watch a socket."""

    def modify(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        """Watch it for other events."""

    def remove(self, raw_socket: socket) -> None:
        """Stop watching it."""

    def handlers(self) -> list[SocketHandler]:
        """The handlers of all watched sockets."""

    def __len__(self) -> int:
        """How many sockets are watched."""

    def serve(self, limit: int) -> int:
        """Call the handlers of ready sockets, at most ``limit`` of them where the system supports that.

        Returns how many were ready.
        """


class StdlibSelector:
    """See `SocketSelector`."""

    def __init__(self) -> None:
        selector = self._selector = selectors.DefaultSelector()
        self.fileno: Callable[[], int] = selector.fileno
        self.close: Callable[[], None] = selector.close

    def add(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        self._selector.register(raw_socket, events, handler)

    def modify(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        self._selector.modify(raw_socket, events, handler)

    def remove(self, raw_socket: socket) -> None:
        self._selector.unregister(raw_socket)

    def handlers(self) -> list[SocketHandler]:
        return [key.data for key in self._selector.get_map().values()]

    def __len__(self) -> int:
        return len(self._selector.get_map())

    def serve(self, limit: int) -> int:
        ready = self._selector.select(0)
        for key, events in ready:
            handler: SocketHandler = key.data
            if events & EVENT_READ and not handler.closed:
                handler.on_readable()
            if events & EVENT_WRITE and not handler.closed:
                handler.on_writable()
        return len(ready)


class EpollSelector:
    """See `SocketSelector`. Unlike `selectors`, it can limit the number of ready sockets."""

    def __init__(self) -> None:
        epoll = self._epoll = select.epoll()
        self._handlers: dict[int, SocketHandler] = {}
        self._events: dict[int, int] = {}
        self.fileno: Callable[[], int] = epoll.fileno
        self.close: Callable[[], None] = epoll.close

    def add(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        fileno = raw_socket.fileno()
        self._epoll.register(fileno, _flags(events))
        self._handlers[fileno] = handler
        self._events[fileno] = events

    def modify(self, raw_socket: socket, events: int, handler: SocketHandler) -> None:
        fileno = raw_socket.fileno()
        self._epoll.modify(fileno, _flags(events))
        self._events[fileno] = events

    def remove(self, raw_socket: socket) -> None:
        fileno = raw_socket.fileno()
        del self._handlers[fileno], self._events[fileno]
        self._epoll.unregister(fileno)

    def handlers(self) -> list[SocketHandler]:
        return list(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)

    def serve(self, limit: int) -> int:
        handlers = self._handlers
        ready = self._epoll.poll(0, limit)
        for fileno, flags in ready:
            handler = handlers.get(fileno)
            if handler is None:  # another handler, served before this one, has closed it
                continue
            if flags == _READABLE:
                handler.on_readable()
                continue
            events = self._events[fileno]
            if flags & ~_WRITABLE and events & EVENT_READ:  # an error or a hang-up concerns both directions
                handler.on_readable()
            if flags & ~_READABLE and events & EVENT_WRITE and not handler.closed:
                handler.on_writable()
        return len(ready)


def _flags(events: int) -> int:
    return (_READABLE if events & EVENT_READ else 0) | (_WRITABLE if events & EVENT_WRITE else 0)


def is_available() -> bool:
    """Whether this system has a selector that an event loop can watch as one file. Windows has none."""
    return hasattr(selectors.DefaultSelector, "fileno")


def new_socket_selector() -> SocketSelector:
    """The fastest selector of this system."""
    return EpollSelector() if hasattr(select, "epoll") else StdlibSelector()
