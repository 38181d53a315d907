"""One session of a bulk run at a terminal: the run, its progress, and what signals do to it."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from headrace._support.task_groups import task_group
from headrace.bulk import BulkRun, LocalExecutor, ProcessExecutor, Summary
from headrace.bulk.executor import Executor
from headrace.bulk.garbage import collecting_less
from headrace.bulk.open_files import allow_files
from headrace.cli.progress import Watcher
from headrace.client import Client

T = TypeVar("T")


def on_event_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` on asyncio, on uvloop where that is installed."""
    uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(main, backend_options={"use_uvloop": uvloop})


async def perform(client: Client, bulk: BulkRun, choices: Sequence[str], watcher: Watcher) -> Summary:
    """Open the client, do what is left of a run, and return the summary.

    The first Ctrl-C (or SIGTERM) lets the calls in flight end, the second drops them; either way every
    item that is done is in the journal.
    """
    allow_files(client.settings.max_in_flight)
    async with client:
        return await _perform(LocalExecutor(client, choices), bulk, watcher)


async def perform_in_processes(executor: ProcessExecutor, bulk: BulkRun, watcher: Watcher) -> Summary:
    """The same in several processes."""
    async with executor:
        return await _perform(executor, bulk, watcher)


async def _perform(executor: Executor, bulk: BulkRun, watcher: Watcher) -> Summary:
    with watcher, collecting_less():
        async with task_group() as group:
            group.start_soon(_obey_signals, bulk, watcher, group.cancel_scope)
            group.start_soon(watcher.watch, bulk.summary, executor)
            await bulk.perform(executor)
            group.cancel_scope.cancel()
    return bulk.summary


async def _obey_signals(bulk: BulkRun, watcher: Watcher, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if bulk.summary.stopped_by is not None:
                scope.cancel()
            bulk.stop()
            watcher.say("Stopping: calls in flight are being finished. Ctrl-C again drops them.")
