"""Where an origin is, and a socket connected to it. Portable: one code for trio and asyncio."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import math
import os
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

import anyio

LIFETIME = 60.0
"""Seconds for which an address is remembered; load balancers publish theirs for about as long."""

STAGGER = 0.25
"""Seconds that one address gets before the next is tried beside it (RFC 8305, section 8)."""

_Resolved: TypeAlias = tuple[socket.AddressFamily, Any]


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
        self._until = math.inf
        with contextlib.suppress(ValueError):
            ip = ipaddress.ip_address(host)
            self._best = (socket.AF_INET6 if ip.version == 6 else socket.AF_INET, (host, port))

    async def connected(self) -> socket.socket:
        """A socket connected to it; raises `OSError`."""
        while True:
            best = self._best
            if best is not None and anyio.current_time() < self._until:
                try:
                    return await _connected(best)
                except OSError:
                    if self._until == math.inf:  # it is no name
                        raise
                    if self._best is best:
                        self._best = None  # it may have moved
            async with self._looking:
                if self._best is best:  # else another has looked while this one waited
                    return await self._look()

    async def _look(self) -> socket.socket:
        """Resolve the name, and connect to whichever of its addresses answers first."""
        self._best = None
        found = await anyio.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        self._best, raw_socket = await _race([(family, address) for family, _, _, _, address in found])
        self._until = anyio.current_time() + LIFETIME
        return raw_socket


async def _connected(resolved: _Resolved) -> socket.socket:
    family, address = resolved
    raw_socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        raw_socket.setblocking(False)
        raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = raw_socket.connect_ex(address)
        if number == errno.EINPROGRESS:
            await anyio.wait_writable(raw_socket)
            number = raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        raw_socket.close()
        raise
    return raw_socket


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
    raise errors[0]  # that of the best address
