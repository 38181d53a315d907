"""The lifespans of a client's transport and policies, and the client's task group.

A transport or policy may have ``lifespan(group)``, which returns an async context manager. The client enters
it when it opens and exits it when it closes, in reverse order. ``await group()`` gives the client's task
group for background tasks. It is made at the first call, so a client without background tasks has none.
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
class Component:
    """A transport, policy or limiter of a client, with its name for errors."""

    name: str
    instance: Any


@attrs.define(eq=False)
class _Entered:
    """A lifespan that ``owner`` has entered, and all clients that use it now."""

    component: Component
    manager: AbstractAsyncContextManager[None]
    owner: Lifespans
    has_tasks: bool
    users: list[Lifespans] = attrs.field(factory=list)


_entered: dict[int, _Entered] = {}
"""By the id of the component; an entry keeps its component alive."""


class Lifespans:
    """The lifespans of one client.

    If several clients of one event loop share a component, the first one enters its lifespan and the last one
    exits it. Background tasks of the component end with the first client, so such clients must be closed in
    reverse order.

    Args:
        components: In the order in which they are entered.
        on_loss: Called with a message when another client closes and ends the background tasks of a shared
            component.
    """

    def __init__(self, components: Sequence[Component], on_loss: Callable[[str], None]) -> None:
        self._parts = components
        self._on_loss = on_loss
        self._stack = AsyncExitStack()
        self._group: anyio.abc.TaskGroup | None = None
        self._task: int | None = None
        self.entered: bool = False

    @uninterrupted
    async def enter(self) -> None:
        """Enter all lifespans; if one fails, exit those before it.

        Raises:
            ClientStateError: A component is in use in another event loop.
            PluginError: A lifespan raised an error that is not a HeadraceError.
        """
        try:
            for component in self._parts:
                if bind_to_running_loop(component.instance, component.name):
                    _entered.pop(id(component.instance), None)  # entered by a client that was never closed
                if hasattr(component.instance, "aclose"):
                    self._stack.push_async_callback(component.instance.aclose)
                if hasattr(component.instance, "lifespan"):
                    await self._enter(component)
        except BaseException as error:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        self.entered = True

    @uninterrupted
    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Exit all lifespans, in reverse order.

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

    async def _enter(self, component: Component) -> None:
        entered = _entered.get(id(component.instance))
        if entered is None:
            has_tasks = False

            async def group() -> BackgroundTasks:
                nonlocal has_tasks
                has_tasks = True
                return BackgroundTasks(await self._open_group(), component.name)

            with _named_in_errors(component):
                manager: AbstractAsyncContextManager[None] = component.instance.lifespan(group)
                await manager.__aenter__()
            entered = _entered[id(component.instance)] = _Entered(component, manager, self, has_tasks)
        entered.users.append(self)

        async def leave(*details: Any) -> None:
            await self._leave(entered, *details)

        self._stack.push_async_exit(leave)

    async def _leave(self, entered: _Entered, *details: Any) -> None:
        entered.users.remove(self)
        is_left = _entered.get(id(entered.component.instance)) is not entered
        if is_left or (entered.users and not (entered.has_tasks and entered.owner is self)):
            return
        del _entered[id(entered.component.instance)]
        for user in entered.users:
            user._on_loss(
                f"the client that opened {entered.component.name} is closed; close clients that share it in "
                "reverse order"
            )
        with _named_in_errors(entered.component):
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
def _named_in_errors(component: Component) -> Iterator[None]:
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        raise PluginError(f"{component.name}: its lifespan raised {type(error).__name__}: {error}") from error
