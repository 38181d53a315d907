"""Faults of this machine and process: no file, port, thread or memory left for another connection.

They say nothing about the endpoint, so they are an error of their own kind, and the attempt waits for a
connection of another attempt where there is one.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import anyio
import attrs

from headrace.errors import LocalResourceError

T = TypeVar("T")

_PORTS = "this machine has no local port left for it; lower max_in_flight, or widen the range of local ports"
_MEMORY = "the system has no memory left for sockets; lower max_in_flight"
_BECAUSE = {
    errno.ENFILE: "the system's limit of open files is reached; raise fs.file-max, or lower max_in_flight",
    errno.EADDRNOTAVAIL: _PORTS,
    errno.EAGAIN: "this process can start no further thread; raise the limit with 'ulimit -u'",
    errno.ENOBUFS: _MEMORY,
    errno.ENOMEM: _MEMORY,
    errno.ENOSPC: "the limit of watched files is reached; raise fs.epoll.max_user_watches",
}

LOCAL = frozenset({errno.EMFILE, *_BECAUSE})
"""Numbers of errors, met while a connection is opened, that are this side's own."""

_TELLS_LITTLE = (socket.gaierror, ssl.SSLError)
"""Kinds of errors that may be due to a file that could not be opened, and do not say so."""


_FILES_NEEDED = 8
"""As many as resolving a name and reading certificates may take at once."""


def local_resource_error(error: BaseException, where: str) -> LocalResourceError | None:
    """The error to raise in place of ``error`` where a local limit caused it, None where none did."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, _TELLS_LITTLE):
        number = _no_file_left()
    if number not in LOCAL:
        return None
    return LocalResourceError(f"no connection to {where}: {_because(number)}")


@contextlib.contextmanager
def local_errors_named(where: str) -> Iterator[None]:
    """Have what the block needs of this machine, and does not get, raised as `LocalResourceError`."""
    try:
        yield
    except OSError as error:
        named = local_resource_error(error, where)
        if named is None:
            raise
        raise named from error


def _because(number: int | None) -> str:
    if number == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"this process may open {limit} files; raise it with 'ulimit -n', or lower max_in_flight"
    return _BECAUSE[number or 0]


def _no_file_left() -> int | None:
    """The number of the error with which `_FILES_NEEDED` files cannot be opened now, None where they can."""
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(_FILES_NEEDED):
                opened.enter_context(open(os.devnull, "rb"))
        except OSError as error:
            return error.errno
    return None


@attrs.define(eq=False)
class _Waiter(Generic[T]):
    served: anyio.Event = attrs.field(factory=anyio.Event)
    given: T | None = None


class Shortage(Generic[T]):
    """Attempts that wait for what others of their transport give back, in the order in which they came.

    ``T`` is what may be handed over, ``put_back`` takes it where the waiter was cancelled meanwhile.
    """

    def __init__(self, put_back: Callable[[T], None]) -> None:
        self._put_back = put_back
        self._given_back_at = 0.0
        self.waiters: deque[_Waiter[T]] = deque()

    async def wait(self, error: LocalResourceError, patience: float | None, *, again: bool) -> T | None:
        """Wait until something is given back: what is handed over, None where a new one is to be opened.

        Args:
            error: Raised once nothing was given back for ``patience`` seconds (None: never).
            patience: See above.
            again: Whether this attempt has waited before; it goes first then.
        """
        waiter = _Waiter[T]()
        (self.waiters.appendleft if again else self.waiters.append)(waiter)
        self._given_back_at = max(self._given_back_at, anyio.current_time())
        try:
            while not waiter.served.is_set():
                until = math.inf if patience is None else self._given_back_at + patience
                with anyio.CancelScope(deadline=until):
                    await waiter.served.wait()
                    return waiter.given
                if patience is not None and anyio.current_time() >= self._given_back_at + patience:
                    raise error
        except BaseException:
            if not waiter.served.is_set():
                self.waiters.remove(waiter)
            elif waiter.given is not None:
                self._put_back(waiter.given)
            else:
                self.give_back()
            raise
        return waiter.given

    def give_back(self, given: T | None = None) -> None:
        """Serve the attempt that has waited longest, if one waits."""
        self._given_back_at = anyio.current_time()
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.given = given
            waiter.served.set()

    def close(self) -> None:
        """Let all go on, to find that their transport is closed."""
        while self.waiters:
            self.give_back()
