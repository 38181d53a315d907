"""The address of an origin, and sockets connected to it. One implementation for trio and asyncio."""

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
from headrace.transports.connecting.local_limits import LOCAL_ERRNOS, leaves_spare_files

CACHE_SECONDS = 60.0
"""How long an address is cached, similar to the TTL of load balancers."""

CONNECTION_ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried in parallel (RFC 8305, section 8)."""

_LOCK_INTERVAL = 0.001
_LOCK_PAUSE = 50e-6
"""Seconds for which the event loop releases the interpreter lock per interval, while a name is resolved."""

_SocketAddress: TypeAlias = tuple[socket.AddressFamily, Any]


_IN_PROGRESS = {0, errno.EINPROGRESS}
_IS_CONNECTED = {0, errno.EISCONN}


class Address:
    """The address of an origin: its name is resolved once per `CACHE_SECONDS`, the best address comes first.

    Connecting to a known address needs no thread and no task, which would cost more than the connect.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._resolving = anyio.Lock()
        self._best: _SocketAddress | None = None
        self._resolved_at = -math.inf
        self._expires_at = math.inf
        with contextlib.suppress(ValueError):
            ip = ipaddress.ip_address(host)
            if ip.version == 4:
                self._best = socket.AF_INET, (host, port)
            elif ip.scope_id is None:
                self._best = socket.AF_INET6, (host, port)

    def connect_nowait(self) -> socket.socket | None:
        """A socket connected without a wait, only for a loopback address; None: use `connect`."""
        best = self._cached()
        if best is None or not _is_loopback(best):
            return None
        try:
            raw_socket = _new_socket(best[0])
        except OSError:
            return None  # no file left; `connect` reports it
        # The first call completes the TCP handshake, but only the second one reports that.
        if raw_socket.connect_ex(best[1]) in _IN_PROGRESS and raw_socket.connect_ex(best[1]) in _IS_CONNECTED:
            return raw_socket
        raw_socket.close()
        return None

    def _cached(self) -> _SocketAddress | None:
        """The best address, or None if it must be resolved."""
        return self._best if self._expires_at == math.inf or anyio.current_time() < self._expires_at else None

    async def connect(self) -> socket.socket:
        """A connected socket. Raises `OSError`."""
        while True:
            best = self._best
            if best is not None and self._cached() is not None:
                try:
                    return await _connect(best)
                except OSError as error:
                    if self._expires_at == math.inf or error.errno in LOCAL_ERRNOS:  # the address is right
                        raise
                    if self._best is best:
                        self._best = None  # the origin may have moved
            async with self._resolving:
                if self._best is best:  # otherwise another task resolved it while this one waited
                    return await self._resolve_and_connect()

    async def _resolve_and_connect(self) -> socket.socket:
        """Resolve the name, and connect to the address that answers first."""
        self._best = None
        host, _, scope = self._host.partition("%")
        if scope:
            # A URL writes %25 for the % (RFC 6874), but not all do.
            interface = socket.if_nametoindex(scope.removeprefix("25") or scope)
            found: list[_SocketAddress] = [(socket.AF_INET6, (host, self._port, 0, interface))]
        else:
            found = await _resolve(host, self._port)
        self._best, raw_socket = await _happy_eyeballs(found)
        self._resolved_at = anyio.current_time()
        self._expires_at = self._resolved_at + CACHE_SECONDS
        return raw_socket

    def on_connect_timeout(self, started: float) -> None:
        """Resolve the name again after a connect timed out, unless it was resolved since ``started``.

        The name may have other addresses that respond.
        """
        if self._expires_at < math.inf and self._resolved_at <= started:
            self._best = None


async def _resolve(host: str, port: int) -> list[_SocketAddress]:
    try:
        async with task_group() as group:
            group.start_soon(_let_threads_run)
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            group.cancel_scope.cancel()
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
        raise OSError(errno.EAGAIN, str(error)) from error  # as the system reported it to Python
    return [(family, address) for family, _, _, _, address in found]


async def _let_threads_run() -> None:
    """Let the thread that resolves a name get the interpreter lock, even if the event loop is never idle.

    A loop whose turns are shorter than the interpreter's switch interval (5 ms) releases the lock in each
    turn, and takes it again before a waiting thread has woken. Resolving a name took minutes in such a case.
    """
    while True:
        await anyio.sleep(_LOCK_INTERVAL)
        time.sleep(_LOCK_PAUSE)  # noqa: ASYNC251 - on purpose


def _new_socket(family: int) -> socket.socket:
    raw_socket = socket.socket(family, socket.SOCK_STREAM)
    if not leaves_spare_files(raw_socket):
        raw_socket.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    raw_socket.setblocking(False)  # SOCK_NONBLOCK would save a system call, but macOS does not have it
    raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw_socket


@functools.lru_cache(maxsize=64)
def _is_loopback(address: _SocketAddress) -> bool:
    return ipaddress.ip_address(address[1][0]).is_loopback


async def _connect(address: _SocketAddress) -> socket.socket:
    family, target = address
    raw_socket = _new_socket(family)
    try:
        number = raw_socket.connect_ex(target)
        if number == errno.EINPROGRESS:
            await anyio.wait_writable(raw_socket)
            number = raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == errno.EADDRNOTAVAIL and not _has_route(address):
            number = errno.ENETUNREACH
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        raw_socket.close()
        raise
    return raw_socket


def _has_route(address: _SocketAddress) -> bool:
    """Whether this machine has a source address for the target. If not, the cause is not a missing port."""
    family, target = address
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(target) != errno.EADDRNOTAVAIL  # sends nothing


async def _happy_eyeballs(addresses: Sequence[_SocketAddress]) -> tuple[_SocketAddress, socket.socket]:
    """Try the addresses in order, the next one after a failure or `CONNECTION_ATTEMPT_DELAY` (RFC 8305)."""
    if len(addresses) == 1:
        return addresses[0], await _connect(addresses[0])
    errors: list[OSError] = []
    winners: list[tuple[_SocketAddress, socket.socket]] = []

    async def attempt(address: _SocketAddress, failed: anyio.Event) -> None:
        try:
            raw_socket = await _connect(address)
        except OSError as error:
            errors.append(error)
            failed.set()
            return
        if winners:
            raw_socket.close()
        winners.append((address, raw_socket))
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                failed = anyio.Event()
                group.start_soon(attempt, address, failed)
                with anyio.move_on_after(CONNECTION_ATTEMPT_DELAY):
                    await failed.wait()
    except BaseException:
        for _, raw_socket in winners[:1]:
            raw_socket.close()
        raise
    if winners:
        return winners[0]
    # A local cause comes first, then the error of the best address.
    raise next((error for error in errors if error.errno in LOCAL_ERRNOS), errors[0])
