"""What a client holds and a process has, at a moment at which no call is under way."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import anyio
import anyio.lowlevel

from headrace import Client
from headrace.transports.http1.connection_pool import Http1Pool
from headrace.transports.native import NativeTransport

PAGE = os.sysconf("SC_PAGE_SIZE")
TURNS = 20
"""Of the event loop, in which what was closed or cancelled comes to its end."""


async def look(client: Client) -> dict[str, float]:
    """The process's memory in MB, objects, open files and tasks; the client's connections, timers, policies.

    Files are those that are no idle connection, policies the objects that the client's hold.
    """
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()
    gc.collect()
    transport = client._transport
    assert isinstance(transport, NativeTransport)
    poller = transport._poller
    idle = sum(len(each._idle) for each in transport._senders.values() if isinstance(each, Http1Pool))
    return {
        "memory_mb": resident() / 2**20,
        "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")) - idle,
        "idle": idle,
        "tasks": len(anyio.get_running_tasks()),
        "in_flight": client.in_flight,
        "timers": 0 if poller is None else len(poller._heap),
        "held": held(client.policies),
    }


def resident() -> int:
    """The bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def held(roots: Iterable[object]) -> int:
    """How many objects can be reached from these, code aside."""
    seen, ahead = set[int](), list[Any](roots)
    while ahead:
        found = ahead.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(found))
        ahead += gc.get_referents(found)
    return len(seen)
