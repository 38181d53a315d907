"""Serves the page until Ctrl-C, and keeps the indexes up to date meanwhile."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp

from headrace import SettingsError
from headrace_view.runs import Runs

_NICE = 19
"""How much more willingly than others this process yields the processor: the most, as the run goes first.
An index that is continued takes what it gets. A request needs little, and hardly waits longer."""

_EVERY = 1.0
"""Seconds between two looks at outputs that have not grown: many lines at once cost less than a few each."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address; raises `SettingsError` if it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With this protocol named, asyncio lets no part of a response wait for an acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        why = error.strerror or str(error)
        raise SettingsError(f"{host}:{port}: {why}; choose another --port or --host") from None
    return bound


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an IP address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def serve(app: ASGIApp, runs: Runs, bound: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        app: The page.
        runs: Its runs.
        bound: The socket to listen at.
        on_ready: Called when the page can be opened.
    """
    with suppress(OSError):
        os.nice(_NICE)
    server = uvicorn.Server(server_settings(app))
    # On asyncio, which is what uvicorn runs on; so the tests of the server run on asyncio only.
    with suppress(KeyboardInterrupt):
        anyio.run(_serve, server, runs, bound, on_ready)


def server_settings(app: ASGIApp) -> uvicorn.Config:
    """Settings of the server of a page: no WebSockets, whose library takes long to import, and no log."""
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )


async def _serve(
    server: uvicorn.Server, runs: Runs, bound: socket.socket, on_ready: Callable[[], None]
) -> None:
    async def announce() -> None:
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await anyio.sleep(0.01)
        on_ready()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(announce)
        tasks.start_soon(follow, runs)
        await server.serve(sockets=[bound])
        tasks.cancel_scope.cancel()


async def follow(runs: Runs) -> None:
    """Keep the indexes up to date until this is cancelled, from the first run on, which is shown first."""
    await anyio.to_thread.run_sync(runs.get, 0)
    while True:
        if not await anyio.to_thread.run_sync(runs.step):
            await anyio.sleep(_EVERY)
