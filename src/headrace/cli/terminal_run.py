"""A bulk run at a terminal: with its progress display, and stopped by signals."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeAlias, TypeVar

import anyio

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk import BulkRun, Summary
from headrace.bulk.control.accompanied import accompanied
from headrace.bulk.control.bulk_run_control import BulkRunControl
from headrace.bulk.executor import Executor
from headrace.bulk.gc_tuning import reduced_gc
from headrace.bulk.result_store import ResultStore
from headrace.cli.progress import ProgressDisplay
from headrace.client import Client

T = TypeVar("T")

Accompany: TypeAlias = Callable[[Executor], AbstractAsyncContextManager[object]]
"""Makes the context in which a run is performed, for its executor."""

_FINISHED = "Stopping: calls in flight are being finished. Ctrl-C again drops them."
_LEFT = "Stopping: what is being sent is finished first. Ctrl-C again drops it."


def run_async(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` on asyncio, with uvloop if it is installed."""
    uvloop = importlib.util.find_spec("uvloop") is not None
    handler = signal.getsignal(signal.SIGINT)
    try:
        return anyio.run(main, backend_options={"use_uvloop": uvloop})
    finally:
        signal.signal(signal.SIGINT, handler)  # `perform` has changed it


def accompany_with(
    bulk: BulkRun,
    journal: ResultStore,
    client: Client,
    display: ProgressDisplay,
    engine: str | None = None,
) -> Accompany:
    """The context in which a run is shown, and plugins accompany it."""

    @asynccontextmanager
    @uninterrupted
    async def accompany(executor: Executor) -> AsyncIterator[None]:
        control = BulkRunControl(
            bulk, executor, journal, policies=client.policies, events=display, engine=engine
        )
        async with accompanied(control), display.shown(control.snapshot):
            yield

    return accompany


async def perform(
    bulk: BulkRun,
    executor: Executor,
    resource: AbstractAsyncContextManager[object],
    display: ProgressDisplay,
    accompany: Accompany,
) -> Summary:
    """Send the remaining items, and return the summary.

    The first Ctrl-C (or SIGTERM) lets the calls in flight finish, the second drops them. In both cases, every
    finished item is in the journal.

    Args:
        bulk: The run.
        executor: Makes the calls.
        resource: The client or the processes that the executor needs; open while the run is performed.
        display: Prints lines.
        accompany: Makes the context in which the run is performed.
    """
    return await _perform(bulk, lambda: nullcontext(executor), resource, display, accompany, _FINISHED)


async def perform_with_engine(
    bulk: BulkRun,
    open_executor: Callable[[], AbstractAsyncContextManager[Executor]],
    client: AbstractAsyncContextManager[object],
    display: ProgressDisplay,
    accompany: Accompany,
) -> Summary:
    """As `perform`, with the executor of an engine, which is opened after the client."""
    return await _perform(bulk, open_executor, client, display, accompany, _LEFT)


async def _perform(
    bulk: BulkRun,
    open_executor: Callable[[], AbstractAsyncContextManager[Executor]],
    resource: AbstractAsyncContextManager[object],
    display: ProgressDisplay,
    accompany: Accompany,
    notice: str,
) -> Summary:
    opened = anyio.Event()
    async with task_group() as signals:
        signals.start_soon(_stop_on_signals, bulk, display, signals.cancel_scope, opened, notice)
        with reduced_gc():
            async with (
                resource,
                open_executor() as executor,
                accompany(executor),
            ):
                opened.set()
                await bulk.perform(executor)
        signals.cancel_scope.cancel()
    return bulk.summary


async def _stop_on_signals(
    bulk: BulkRun, display: ProgressDisplay, scope: anyio.CancelScope, opened: anyio.Event, notice: str
) -> None:
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if opened.is_set() and bulk.summary.stopped_by is None:
                    display.print_line(notice)
                else:
                    scope.cancel()
                bulk.stop()
    finally:
        # Until the event loop is closed, Ctrl-C ends the process at once: a KeyboardInterrupt in a callback
        # of the closing loop would be printed and ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
