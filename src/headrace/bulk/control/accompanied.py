"""Lets plugins accompany a run: their contexts are open while it is performed, and cannot disturb it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeAlias

import anyio
import anyio.abc

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.control.run_control import RunControl
from headrace.errors import HeadraceError
from headrace.pipeline.plugin_manager import Plugins

_log = logging.getLogger("headrace")

_NamedContext: TypeAlias = tuple[str, AbstractAsyncContextManager[object]]
"""A context, and the plugin that it is from."""

_CLOSE_TIMEOUT = 5.0
"""Seconds in which the contexts must close at the end of a run."""


@asynccontextmanager
@uninterrupted
async def accompanied(control: RunControl) -> AsyncIterator[None]:
    """Open the contexts of ``headrace_run_context`` during the block, each in its own task.

    An error of a plugin is logged as one warning. A run without an output file has no such contexts. The
    plugins are asked also if the client was made with its own policies: what accompanies a run is no policy.
    """
    contexts = _contexts(control)
    if not contexts:
        yield
        return
    async with _held(contexts):
        yield


@contextmanager
def accompanied_in_thread(control: RunControl) -> Iterator[bool]:
    """Open the contexts of ``headrace_run_context`` for an engine without an event loop, in that of a thread.

    The methods of ``control`` are called in that thread. The thread exists only if a plugin has such a
    context. An error of a plugin is logged as one warning.

    Args:
        control: Shows and changes the run.

    Returns:
        A context manager that yields whether there are contexts.

    Example:
        ```python
        with accompanied_in_thread(control) as is_accompanied:
            ...  # perform the run
        ```
    """
    contexts = _contexts(control)
    if not contexts:
        yield False
        return
    from headrace._support.event_loop_thread import entered, event_loop_thread  # not for ordinary runs

    with event_loop_thread() as portal, entered(portal, _held(contexts)):
        yield True


@asynccontextmanager
@uninterrupted
async def _held(contexts: list[_NamedContext]) -> AsyncIterator[None]:
    """Open contexts during the block."""
    over = anyio.Event()
    async with task_group() as group:
        for name, context in contexts:
            await group.start(_hold, name, context, over)
        yield
        over.set()
        group.cancel_scope.deadline = anyio.current_time() + _CLOSE_TIMEOUT


def _contexts(control: RunControl) -> list[_NamedContext]:
    if control.out is None:
        return []
    try:
        found = Plugins().call("headrace_run_context", control=control)
    except HeadraceError as error:
        _log.warning("%s", error)
        return []
    return [(str(plugin), context) for plugin, context in found]


@uninterrupted
async def _hold(
    name: str,
    context: AbstractAsyncContextManager[object],
    over: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    """Keep a context open until the run is over."""
    has_started = False
    try:
        async with context:
            has_started = True
            task_status.started()
            await over.wait()
    except Exception as error:
        why = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        _log.warning("%s does not accompany this run: %s", name, why)
        if not has_started:
            task_status.started()
