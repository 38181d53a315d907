"""The resources of a client and its process while no call is in flight."""

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
CHECKPOINTS = 20
"""Checkpoints of the event loop, in which closed and cancelled tasks end."""


async def count_resources(client: Client) -> dict[str, float]:
    """Memory of the process in MB, and numbers of objects, files, tasks, connections and timers.

    ``files`` are open files without idle connections; ``held`` are the objects that the policies hold.
    """
    for _ in range(CHECKPOINTS):
        await anyio.lowlevel.checkpoint()
    gc.collect()
    transport = client._transport
    assert isinstance(transport, NativeTransport)
    poller = transport._poller
    idle = sum(len(each._idle) for each in transport._senders.values() if isinstance(each, Http1Pool))
    return {
        "memory_mb": resident_bytes() / 2**20,
        "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")) - idle,
        "idle": idle,
        "tasks": len(anyio.get_running_tasks()),
        "in_flight": client.in_flight,
        "timers": 0 if poller is None else len(poller._heap),
        "held": reachable_objects(client.policies),
    }


def resident_bytes() -> int:
    """The resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def reachable_objects(roots: Iterable[object]) -> int:
    """The number of objects that are reachable from these, without code."""
    seen, ahead = set[int](), list[Any](roots)
    while ahead:
        found = ahead.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(found))
        ahead += gc.get_referents(found)
    return len(seen)
