"""What a client opens and closes: the lifespans of its transport and policies, and its task group.

A transport or policy may have ``lifespan(group)``, which returns an async context manager. It is entered with
the client and left with it, in reverse order. ``await group()`` gives the client's task group, for background
tasks; it is made when it is first asked for, so that a client without background tasks has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

import anyio
import anyio.abc
import attrs

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.errors import ClientStateError, HeadraceError, PluginError
from headrace.pipeline.loop_ownership import bind_to_running_loop
from headrace.policies import BackgroundTasks

TRANSPORT = "the transport"


@attrs.frozen
class Part:
    """A transport, policy or limiter of a client, and what errors call it."""

    name: str
    it: Any


@attrs.define(eq=False)
class _Entered:
    """A lifespan that was entered by ``owner``, and all clients that use it now."""

    part: Part
    manager: AbstractAsyncContextManager[None]
    owner: Lifespans
    has_tasks: bool
    users: list[Lifespans] = attrs.field(factory=list)


_entered: dict[int, _Entered] = {}
"""By the id of the transport or policy, which lives as long as it is in here."""


class Lifespans:
    """The lifespans of one client.

    A part that several clients of one event loop share is entered by the first of them and left by the last.
    If it has background tasks, it ends with the first: such clients are left in reverse order.

    Args:
        parts: In the order in which they are entered.
        on_loss: Called with what to say when another client is closed that has the background tasks of a part
            of this one.
    """

    def __init__(self, parts: Sequence[Part], on_loss: Callable[[str], None]) -> None:
        self._parts = parts
        self._on_loss = on_loss
        self._stack = AsyncExitStack()
        self._group: anyio.abc.TaskGroup | None = None
        self._task: int | None = None
        self.entered: bool = False

    @uninterrupted
    async def enter(self) -> None:
        """Enter all; where one fails, those before it are left.

        Raises:
            ClientStateError: A part is in use in another event loop.
            PluginError: A lifespan raised an error that is not headrace's.
        """
        try:
            for part in self._parts:
                if bind_to_running_loop(part.it, part.name):
                    _entered.pop(id(part.it), None)  # by a client that was never closed
                if hasattr(part.it, "aclose"):
                    self._stack.push_async_callback(part.it.aclose)
                if hasattr(part.it, "lifespan"):
                    await self._enter(part)
        except BaseException as error:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        self.entered = True

    @uninterrupted
    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave all, in reverse order.

        Raises:
            ClientStateError: The client has background tasks, and another task entered it.
        """
        self.entered = False
        if self._group is not None and anyio.get_current_task().id != self._task:
            self._group.cancel_scope.cancel()
            raise ClientStateError(
                "this client has background tasks, so the task that entered it must leave it; "
                "open and close it in one task, as 'async with' does"
            )
        await self._stack.__aexit__(kind, error, traceback)

    async def _enter(self, part: Part) -> None:
        entered = _entered.get(id(part.it))
        if entered is None:
            has_tasks = False

            async def group() -> BackgroundTasks:
                nonlocal has_tasks
                has_tasks = True
                return BackgroundTasks(await self._open_group(), part.name)

            with _named(part):
                manager: AbstractAsyncContextManager[None] = part.it.lifespan(group)
                await manager.__aenter__()
            entered = _entered[id(part.it)] = _Entered(part, manager, self, has_tasks)
        entered.users.append(self)

        async def leave(*details: Any) -> None:
            await self._leave(entered, *details)

        self._stack.push_async_exit(leave)

    async def _leave(self, entered: _Entered, *details: Any) -> None:
        entered.users.remove(self)
        is_left = _entered.get(id(entered.part.it)) is not entered
        if is_left or (entered.users and not (entered.has_tasks and entered.owner is self)):
            return
        del _entered[id(entered.part.it)]
        for user in entered.users:
            user._on_loss(
                f"the client that opened {entered.part.name} is closed; close clients that share it in "
                "reverse order"
            )
        with _named(entered.part):
            await entered.manager.__aexit__(*details)

    async def _open_group(self) -> anyio.abc.TaskGroup:
        if self._group is None:
            self._task = anyio.get_current_task().id
            self._group = await self._stack.enter_async_context(_cancelled_at_the_end())
        return self._group


@asynccontextmanager
async def _cancelled_at_the_end() -> AsyncIterator[anyio.abc.TaskGroup]:
    async with task_group() as group:
        try:
            yield group
        finally:
            group.cancel_scope.cancel()


@contextmanager
def _named(part: Part) -> Iterator[None]:
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        raise PluginError(f"{part.name}: its lifespan raised {type(error).__name__}: {error}") from error
