"""Where an origin is, and a socket connected to it. Portable: one code for trio and asyncio."""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import math
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import anyio

from headrace._support.task_groups import task_group
from headrace.transports.connecting.local_limits import LOCAL

LIFETIME = 60.0
"""Seconds for which an address is remembered; load balancers publish theirs for about as long."""

STAGGER = 0.25
"""Seconds that one address gets before the next is tried beside it (RFC 8305, section 8)."""

_TURN = 0.001
_LOCK_FREE = 50e-6
"""Every so many seconds the event loop does without the lock for so many, while a name is looked up."""

_Resolved: TypeAlias = tuple[socket.AddressFamily, Any]


_UNDER_WAY = {0, errno.EINPROGRESS}
_IS_CONNECTED = {0, errno.EISCONN}


class Address:
    """Where an origin is: its name resolved once and then for `LIFETIME` seconds, the best address first.

    Connecting takes no thread and no task where it is known: with a thousand connects at once, those cost
    more than the connects.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._looking = anyio.Lock()
        self._best: _Resolved | None = None
        self._found = -math.inf
        self._until = math.inf
        with contextlib.suppress(ValueError):
            ip = ipaddress.ip_address(host)
            if ip.version == 4:
                self._best = socket.AF_INET, (host, port)
            elif ip.scope_id is None:
                self._best = socket.AF_INET6, (host, port)

    def connected_at_once(self) -> socket.socket | None:
        """A socket connected to it, where that takes no time: on this machine. None: use `connected`."""
        best = self._known()
        if best is None or not _is_loopback(best):
            return None
        try:
            raw_socket = _new_socket(best[0])
        except OSError:
            return None  # no more files; `connected` says so
        # The first call has both sides shake hands, but does not say that they have.
        if raw_socket.connect_ex(best[1]) in _UNDER_WAY and raw_socket.connect_ex(best[1]) in _IS_CONNECTED:
            return raw_socket
        raw_socket.close()
        return None

    def _known(self) -> _Resolved | None:
        """The best address, where it is known."""
        return self._best if self._until == math.inf or anyio.current_time() < self._until else None

    async def connected(self) -> socket.socket:
        """A socket connected to it; raises `OSError`."""
        while True:
            best = self._best
            if best is not None and self._known() is not None:
                try:
                    return await _connected(best)
                except OSError as error:
                    if self._until == math.inf or error.errno in LOCAL:  # the address is not to blame
                        raise
                    if self._best is best:
                        self._best = None  # it may have moved
            async with self._looking:
                if self._best is best:  # else another has looked while this one waited
                    return await self._look()

    async def _look(self) -> socket.socket:
        """Resolve the name, and connect to whichever of its addresses answers first."""
        self._best = None
        host, _, scope = self._host.partition("%")
        if scope:
            # A URL writes %25 for the % (RFC 6874), but not all do.
            interface = socket.if_nametoindex(scope.removeprefix("25") or scope)
            found: list[_Resolved] = [(socket.AF_INET6, (host, self._port, 0, interface))]
        else:
            found = await _resolved(host, self._port)
        self._best, raw_socket = await _race(found)
        self._found = anyio.current_time()
        self._until = self._found + LIFETIME
        return raw_socket

    def timed_out(self, began: float) -> None:
        """A connect that began then had no answer in time: look again, unless somebody has looked since.

        The name may have other addresses, which answer.
        """
        if self._until < math.inf and self._found <= began:
            self._best = None


async def _resolved(host: str, port: int) -> list[_Resolved]:
    try:
        async with task_group() as group:
            group.start_soon(_let_threads_run)
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            group.cancel_scope.cancel()
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
        raise OSError(errno.EAGAIN, str(error)) from error  # as the system said to Python
    return [(family, address) for family, _, _, _, address in found]


async def _let_threads_run() -> None:
    """Let the thread that looks a name up have the interpreter's lock, where the event loop is never idle.

    A loop whose turns are shorter than the interpreter's switch interval (5 ms) gives the lock up in each
    turn, and has it back before a thread that waits for it has woken. As seen, a name took minutes then.
    """
    while True:
        await anyio.sleep(_TURN)
        time.sleep(_LOCK_FREE)  # noqa: ASYNC251 - on purpose


def _new_socket(family: int) -> socket.socket:
    raw_socket = socket.socket(family, socket.SOCK_STREAM)
    raw_socket.setblocking(False)  # with SOCK_NONBLOCK it would be one step, which macOS does not have
    raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw_socket


@functools.lru_cache(maxsize=64)
def _is_loopback(resolved: _Resolved) -> bool:
    return ipaddress.ip_address(resolved[1][0]).is_loopback


async def _connected(resolved: _Resolved) -> socket.socket:
    family, address = resolved
    raw_socket = _new_socket(family)
    try:
        number = raw_socket.connect_ex(address)
        if number == errno.EINPROGRESS:
            await anyio.wait_writable(raw_socket)
            number = raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == errno.EADDRNOTAVAIL and not _has_route(resolved):
            number = errno.ENETUNREACH
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        raw_socket.close()
        raise
    return raw_socket


def _has_route(resolved: _Resolved) -> bool:
    """Whether this machine has an address from which to reach another one; if not, no port is missing."""
    family, address = resolved
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(address) != errno.EADDRNOTAVAIL  # sends nothing


async def _race(addresses: Sequence[_Resolved]) -> tuple[_Resolved, socket.socket]:
    """Try one address after the other, the next after `STAGGER` seconds or a failure (RFC 8305)."""
    if len(addresses) == 1:
        return addresses[0], await _connected(addresses[0])
    errors: list[OSError] = []
    winners: list[tuple[_Resolved, socket.socket]] = []

    async def run(resolved: _Resolved, failed: anyio.Event) -> None:
        try:
            raw_socket = await _connected(resolved)
        except OSError as error:
            errors.append(error)
            failed.set()
            return
        if winners:
            raw_socket.close()
        winners.append((resolved, raw_socket))
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for resolved in addresses:
                failed = anyio.Event()
                group.start_soon(run, resolved, failed)
                with anyio.move_on_after(STAGGER):
                    await failed.wait()
    except BaseException:
        for _, raw_socket in winners[:1]:
            raw_socket.close()
        raise
    if winners:
        return winners[0]
    raise next(
        (error for error in errors if error.errno in LOCAL), errors[0]
    )  # else that of the best address
