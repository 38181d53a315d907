"""A run from Python: awaited for its result, or entered and followed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self

import anyio
import attrs
from anyio.lowlevel import checkpoint

from headrace._support.task_groups import task_group
from headrace.bulk.bulk_run import BulkRun
from headrace.bulk.control import Done, RunControl, RunSnapshot
from headrace.bulk.control.accompanied import accompanied
from headrace.bulk.executor import Executor
from headrace.bulk.output_line import OutputLine, decode_line
from headrace.bulk.policy_limits import LimitValue
from headrace.bulk.progress import Display, shown
from headrace.bulk.result import Result
from headrace.errors import ClientStateError


@attrs.frozen
class Session:
    """A run with its journal and its executor open, and what shows its progress."""

    bulk: BulkRun
    executor: Executor
    result: Result
    control: RunControl
    display: Display | None = None

    async def perform(self) -> None:
        """Perform the run, and show its progress."""
        async with accompanied(self.control):
            if self.display is None:
                await self.bulk.perform(self.executor)
                return
            async with shown(self.display, self.control.snapshot):
                await self.bulk.perform(self.executor)


class Run:
    """A bulk run that was not begun; `headrace.run` makes it.

    Awaiting it performs it and returns its `Result`. Entering it begins it, and then:

    - iterating yields an `OutputLine` for each item that finishes in this session, as it finishes;
    - `snapshot` returns the state of the run, `pause`, `resume` and `set_limit` change it, and `stop` ends it
      early;
    - `wait` returns the result.

    Leaving the block cancels the calls in flight. What is done stays in the output, and the same call
    continues.

    Example:
        ```python
        async with headrace.run(client, rows, prompt="Category of {name}?", out="answers.jsonl") as run:
            async for line in run:
                print(line.custom_id, line.answer)
                if run.snapshot().failed > 10:
                    run.stop()
            result = await run.wait()
        ```
    """

    def __init__(self, open_session: Callable[[], AbstractAsyncContextManager[Session]]) -> None:
        self._open_session = open_session
        self._begun = False
        self._session: Session | None = None

    def __await__(self) -> Generator[Any, Any, Result]:
        return self.perform().__await__()

    async def perform(self) -> Result:
        """Perform the run and return its result, as awaiting it does; for ``start_soon``."""
        self._begin()
        async with self._open_session() as session:
            await session.perform()
        return session.result

    def _begin(self) -> None:
        if self._begun:
            raise ClientStateError("a run can be awaited or entered only once; call headrace.run again")
        self._begun = True

    async def __aenter__(self) -> Self:
        self._begin()
        self._finished = anyio.Event()
        self._stored = anyio.Event()
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(self._open_session())
            self._session.bulk.results.on_stored = self._wake
            self._session.bulk.on_replaced = self._open_replaced
            self._lines = deque([self._session.result.open_output()])
            stack.callback(self._close_lines)
            group = await stack.enter_async_context(task_group())
            group.start_soon(self._perform, self._session)
            self._scope = group.cancel_scope
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scope.cancel()
        await self._stack.__aexit__(kind, error, traceback)

    async def _perform(self, session: Session) -> None:
        await session.perform()
        self._finished.set()
        self._wake()

    def _wake(self) -> None:
        stored, self._stored = self._stored, anyio.Event()
        stored.set()

    def _open_replaced(self) -> None:
        self._lines.append(self._opened().result.open_output())

    def _close_lines(self) -> None:
        for lines in self._lines:
            lines.close()

    def __aiter__(self) -> Self:
        self._opened()
        return self

    async def __anext__(self) -> OutputLine:
        self._opened()
        while True:
            stored, finished = self._stored, self._finished.is_set()
            lines = self._lines[0]
            raw = lines.readline()
            if raw.endswith(b"\n"):
                await checkpoint()
                return decode_line(raw)
            if len(self._lines) > 1:  # the output was replaced, and this is the end of the old one
                self._lines.popleft().close()
                continue
            lines.seek(-len(raw), os.SEEK_CUR)
            if finished:
                raise StopAsyncIteration
            await stored.wait()

    def _opened(self) -> Session:
        if self._session is None:
            raise ClientStateError("enter the run first: async with headrace.run(…) as run")
        return self._session

    def snapshot(self) -> RunSnapshot:
        """The totals so far, what the run does, and its limits; a copy that does not change.

        Raises:
            ClientStateError: The run was not entered.
        """
        return self._opened().control.snapshot()

    def pause(self) -> None:
        """Draw no more items until `resume`; those in flight are finished and written.

        Raises:
            ClientStateError: The run was not entered.
            ControlRefused: The run is stopping.
        """
        self._opened().control.pause()

    def resume(self) -> None:
        """Draw items again after `pause`, at once; calls that began before it may still be in flight.

        Raises:
            ClientStateError: The run was not entered.
            ControlRefused: The run is stopping.
        """
        self._opened().control.resume()

    def set_limit(self, name: str, value: LimitValue) -> None:
        """Change a limit of the run; it takes effect at once.

        Args:
            name: "max-in-flight", "budget", "requests-per-minute" or another limit of ``snapshot().limits``.
            value: The new value; None for no limit.

        Raises:
            ClientStateError: The run was not entered.
            ControlRefused: The value is not valid, or nothing in this run has such a limit.
        """
        self._opened().control.set_limit(name, value)

    def retry_failed(self) -> None:
        """Send the failed items again in this run: once the calls in flight are finished, or beside batches.

        Of a job with steps, only the failed step and those after it are sent; samples that are there stay.
        Iterating yields a second `OutputLine` for such an item. The output has one line for it.

        Raises:
            ClientStateError: The run was not entered.
            ControlRefused: The run is stopping, or it is not possible in this run.
        """
        self._opened().control.retry_failed()

    async def cancel(self, ids: Sequence[str]) -> Done:
        """Let items fail with the code "cancelled", that are in flight or were not sent yet.

        Args:
            ids: Their ids.

        Returns:
            Which ids were cancelled, and which are done or not known.

        Raises:
            ClientStateError: The run was not entered.
            ControlRefused: No item can be cancelled.
        """
        return await self._opened().control.cancel(ids)

    def stop(self) -> None:
        """Draw no more items; those in flight are finished and written.

        Raises:
            ClientStateError: The run was not entered.
        """
        self._opened().bulk.stop()

    async def wait(self) -> Result:
        """Wait until all items are done or the run has stopped, and return the result.

        Raises:
            ClientStateError: The run was not entered.
        """
        session = self._opened()
        await self._finished.wait()
        return session.result
