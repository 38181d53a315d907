"""The contract of policies: what one is, where it stands in the pipeline, and what its lifespan is given."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import anyio.abc

from headrace._support.interrupts import uninterrupted
from headrace.calls import Call, Event
from headrace.errors import PluginError, PolicyError
from headrace.replies import Reply

Send: TypeAlias = Callable[[Call], Awaitable[Reply]]


class Stage(enum.IntEnum):
    """Where in the pipeline a policy stands, outermost first."""

    OBSERVE = 10
    ACCOUNT = 20
    ANSWER = 30
    PERSIST = 40
    PROTECT = 50
    PACE = 60


@runtime_checkable
class Policy(Protocol):
    """A piece of behaviour around a call.

    ``wrap`` is called once, when a client is made. What it returns may call the inner ``send`` never,
    once or many times; a policy with nothing to do returns ``send`` itself.
    """

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> Stage: ...
    def wrap(self, send: Send, /) -> Send: ...


@runtime_checkable
class Observer(Protocol):
    """Somebody who is told of events. Sync and cheap; one that raises is named in the log and dropped."""

    @property
    def name(self) -> str: ...
    def notify(self, event: Event, /) -> None: ...


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


TaskGroupFactory: TypeAlias = Callable[[], Awaitable[BackgroundTasks]]
"""What a lifespan is given: awaited, it is the client's task group, made when it is first asked for."""
