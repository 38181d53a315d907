"""A client's task group as a transport or policy gets it: a task that fails names whose it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

import anyio.abc

from headrace._support.interrupts import uninterrupted
from headrace.errors import PluginError, PolicyError


class BackgroundTasks:
    """Starts tasks in the task group of a client; they are cancelled when its block ends.

    What a task raises cancels the client's block, and comes out of it as a `PolicyError` that names
    ``owner``.
    """

    def __init__(self, group: anyio.abc.TaskGroup, owner: str) -> None:
        self._group = group
        self._owner = owner

    @uninterrupted
    def start_soon(
        self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: object = None
    ) -> None:
        """Start a task; see `anyio.abc.TaskGroup.start_soon`."""
        self._group.start_soon(partial(self._run, func), *args, name=name or func)

    @uninterrupted
    async def start(
        self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: object = None
    ) -> Any:
        """Start a task and wait until it calls ``task_status.started``; see `anyio.abc.TaskGroup.start`."""
        return await self._group.start(partial(self._run, func), *args, name=name or func)

    @uninterrupted
    async def _run(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **keywords: Any) -> None:
        try:
            await func(*args, **keywords)
        except (PluginError, PolicyError):
            raise
        except Exception as error:
            raise PolicyError(
                f"{self._owner}: a background task raised {type(error).__name__}: {error}"
            ) from error


GroupOfClient: TypeAlias = Callable[[], Awaitable[BackgroundTasks]]
"""What a lifespan is given: awaited, it is the client's task group, made when it is first asked for."""
