"""Limits of this machine and process: no file, port, thread or memory for another connection.

The endpoint does not cause them. So they have their own error type, and an attempt waits for a connection of
another attempt if there is one.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import anyio
import attrs

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

from headrace.errors import LocalResourceError

T = TypeVar("T")

_NO_PORT = "this machine has no local port left; lower max_in_flight, or widen the range of local ports"
_NO_MEMORY = "the system has no memory left for sockets; lower max_in_flight"
_REASONS = {
    errno.ENFILE: "the system's limit of open files is reached; raise fs.file-max, or lower max_in_flight",
    errno.EADDRNOTAVAIL: _NO_PORT,
    errno.EAGAIN: "this process cannot start another thread; raise the limit with 'ulimit -u'",
    errno.ENOBUFS: _NO_MEMORY,
    errno.ENOMEM: _NO_MEMORY,
    errno.ENOSPC: "the limit of watched files is reached; raise fs.epoll.max_user_watches",
}

LOCAL_ERRNOS = frozenset({errno.EMFILE, *_REASONS})
"""Error numbers that, while a connection is opened, have a local cause."""

_AMBIGUOUS = (socket.gaierror, ssl.SSLError)
"""Errors that may hide that a file could not be opened."""

SPARE_FILES = 64
"""Files that connections leave to the rest of the process, or a quarter of all if these are few.

Without them, a run with more calls than files could answer no control message, and write no table.
"""

_PROBE_FILES = 8
"""How many files name resolution and loading certificates may open at once."""


def local_resource_error(error: BaseException, where: str) -> LocalResourceError | None:
    """The error to raise instead of ``error`` if a local limit caused it, else None."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, _AMBIGUOUS):
        number = _open_files_errno()
    if number not in LOCAL_ERRNOS:
        return None
    return LocalResourceError(f"no connection to {where}: {_reason(number)}")


@contextlib.contextmanager
def translate_local_errors(where: str) -> Iterator[None]:
    """Raise `LocalResourceError` for an error in the block that a local limit caused."""
    try:
        yield
    except OSError as error:
        local = local_resource_error(error, where)
        if local is None:
            raise
        raise local from error


def leaves_spare_files(raw_socket: socket.socket) -> bool:
    """Whether a new connection leaves files to the rest of the process; a system gives the lowest number."""
    if resource is None:
        return True
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit == resource.RLIM_INFINITY or raw_socket.fileno() < limit - min(SPARE_FILES, limit // 4)


def _reason(number: int | None) -> str:
    if number == errno.EMFILE and resource is not None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"this process may open {limit} files; raise it with 'ulimit -n', or lower max_in_flight"
    return _REASONS[number or 0]


def _open_files_errno() -> int | None:
    """The error number if `_PROBE_FILES` files cannot be opened now, else None."""
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(_PROBE_FILES):
                opened.enter_context(open(os.devnull, "rb"))
        except OSError as error:
            return error.errno
    return None


@attrs.define(eq=False)
class _ShortageWaiter(Generic[T]):
    served: anyio.Event = attrs.field(factory=anyio.Event)
    item: T | None = None


class ResourceShortage(Generic[T]):
    """Attempts that wait, first in, first out, for resources that other attempts of their transport release.

    ``T`` is the type of the resource. ``put_back`` gets a resource whose waiter was cancelled in the
    meantime.
    """

    def __init__(self, put_back: Callable[[T], None]) -> None:
        self._put_back = put_back
        self._last_release = 0.0
        self.waiters: deque[_ShortageWaiter[T]] = deque()

    async def wait(self, error: LocalResourceError, max_wait: float | None, *, again: bool) -> T | None:
        """Wait for a release. Returns the released resource, or None if a new one can be opened.

        Args:
            error: Raised if nothing is released for ``max_wait`` seconds.
            max_wait: Seconds since the last release; None means no limit.
            again: Whether this attempt has waited before; if so, it is served first.
        """
        waiter = _ShortageWaiter[T]()
        (self.waiters.appendleft if again else self.waiters.append)(waiter)
        self._last_release = max(self._last_release, anyio.current_time())
        try:
            while not waiter.served.is_set():
                deadline = math.inf if max_wait is None else self._last_release + max_wait
                with anyio.CancelScope(deadline=deadline):
                    await waiter.served.wait()
                    return waiter.item
                if max_wait is not None and anyio.current_time() >= self._last_release + max_wait:
                    raise error
        except BaseException:
            if not waiter.served.is_set():
                self.waiters.remove(waiter)
            elif waiter.item is not None:
                self._put_back(waiter.item)
            else:
                self.release()
            raise
        return waiter.item

    def release(self, item: T | None = None) -> None:
        """Serve the attempt that has waited longest, if there is one."""
        self._last_release = anyio.current_time()
        if self.waiters:
            waiter = self.waiters.popleft()
            waiter.item = item
            waiter.served.set()

    def close(self) -> None:
        """Wake all attempts; they find that their transport is closed."""
        while self.waiters:
            self.release()
