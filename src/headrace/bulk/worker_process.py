"""Starts a worker process, and pickles its setup."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from headrace.bulk.worker_protocol import FrameStream, WorkerReport, frame_stream
from headrace.errors import SettingsError

_EXIT_TIMEOUT = 5.0
"""Seconds within which a worker must exit before it is killed."""


def pickle_for_worker(thing: object, instead: str) -> bytes:
    """Pickle an object for a worker; ``instead`` is an alternative to name in messages."""
    try:
        pickled = pickle.dumps(thing)
    except Exception as error:
        raise SettingsError(
            f"{thing!r} cannot be pickled for other processes ({error}); with processes= pass {instead}"
        ) from error
    if b"__main__" in pickled:
        raise SettingsError(
            f"{thing!r} is defined in the script itself, which other processes cannot import; "
            "define it in a module"
        )
    return pickled


def current_event_loop() -> tuple[str, bool]:
    """The backend of this event loop, and whether it is uvloop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "trio", False
    return "asyncio", type(loop).__module__.startswith("uvloop")


@asynccontextmanager
async def worker_process(environment: Mapping[str, str]) -> AsyncIterator[FrameStream[WorkerReport]]:
    """A worker process for the block. At the end it exits because its socket closes, or it is killed."""
    own_end, worker_end = socket.socketpair()
    with worker_end:
        process = await anyio.open_process(
            [sys.executable, "-m", "headrace.bulk.worker", str(worker_end.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            env=dict(os.environ) | dict(environment),
            pass_fds=[worker_end.fileno()],
            start_new_session=True,  # Ctrl-C must reach this process only: it decides how the run stops
        )
    try:
        own_end.setblocking(False)
        frames: FrameStream[WorkerReport] = await frame_stream(own_end, WorkerReport)
        yield frames
    finally:
        # Shielded, because a cancelled run must not leave processes behind. The wait has a limit.
        with anyio.move_on_after(_EXIT_TIMEOUT, shield=True):
            await frames.aclose()
            await process.wait()
        if process.returncode is None:
            process.kill()
            with anyio.move_on_after(_EXIT_TIMEOUT, shield=True):
                await process.wait()
