"""The contract of policies: their methods, their stages, and background tasks for their lifespans."""

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
"""Sends a call through the rest of the pipeline and returns its reply."""


class Stage(enum.IntEnum):
    """The stage of a policy in the pipeline, outermost first.

    A token of the limiter is taken between PERSIST and PROTECT, so the last two stages are part of each
    attempt.

    Attributes:
        OBSERVE: Logging, tracing.
        ACCOUNT: Cost, budget.
        ANSWER: Cache.
        PERSIST: Retry, hedge, failover.
        PROTECT: Circuit breaker.
        PACE: Rate limits.
    """

    OBSERVE = 10
    ACCOUNT = 20
    ANSWER = 30
    PERSIST = 40
    PROTECT = 50
    PACE = 60


@runtime_checkable
class Policy(Protocol):
    """Behaviour around a call, such as retries or a cache.

    Example:
        ```python
        class Audit:
            name, stage = "audit", headrace.Stage.OBSERVE

            def wrap(self, send: headrace.Send) -> headrace.Send:
                async def audited(call: headrace.Call) -> headrace.Reply:
                    reply = await send(call)
                    print(call.request.id, reply.status)
                    return reply

                return audited
        ```
    """

    @property
    def name(self) -> str:
        """The name, unique within a client."""

    @property
    def stage(self) -> Stage:
        """The stage. Within a stage, policies are ordered by name."""

    def wrap(self, send: Send, /) -> Send:
        """Return a function to use instead of ``send``; called once, when a client is made.

        The function may call ``send`` never, once or many times. A policy that has nothing to do returns
        ``send`` itself.
        """


@runtime_checkable
class Observer(Protocol):
    """Receives the events of a client, synchronously, so it must be fast.

    An observer that raises an error is named in the log and gets no more events.
    """

    @property
    def name(self) -> str:
        """The name, for the log."""

    def notify(self, event: Event, /) -> None:
        """Receive an event."""


class BackgroundTasks:
    """Starts tasks in the task group of a client; they are cancelled when the client closes.

    An error of a task cancels the client's block and is raised from it, as a `PolicyError` that names the
    policy or transport.
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
"""The argument of ``lifespan``: ``await group()`` gives the client's task group, made at the first call."""
