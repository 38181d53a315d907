"""Executors make the calls of a bulk run. `LocalExecutor` makes them with one client in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Protocol, TypeAlias

import anyio
import attrs

from headrace._support.interrupts import uninterrupted
from headrace._support.task_groups import task_group
from headrace.bulk.client_executor import ClientExecutor
from headrace.bulk.fail_on import DEFAULT_FAIL_ON
from headrace.bulk.item_result import ItemResult, item_result
from headrace.calls import Outcome, Request
from headrace.client import Client
from headrace.endpoint import EMPTY
from headrace.errors import HeadraceError


@attrs.define(eq=False)
class WorkItem:
    """An item to send: its number in the run, its id, its request, and the number of its call.

    In place of the request, a function may be passed that returns it for the id: for an item that was parked,
    see `DrawnItems`. If no request can be made for the item, the error is passed. Reading ``request`` raises
    it, so the item fails without a call, like a call whose request is not valid. ``digest`` is that of its
    row, see `Task.digest`, and ``line`` is its `Item.line`. ``step`` is the place of its step in a job with
    steps, from 0. ``call`` tells the calls of a row apart, by the same numbers in all sessions; it is 0 if
    each row has one call. ``tags`` are those of the request, for executors that keep requests elsewhere.
    """

    index: int
    id: str
    _request: Request | HeadraceError | Callable[[str], Request]
    number: int = 0
    digest: int = 0
    step: int = 0
    line: int = 0
    call: int = 0
    tags: Mapping[str, str] = EMPTY
    _failure: HeadraceError | None = attrs.field(default=None, init=False)

    @property
    def request(self) -> Request:
        """The request; raises the error if there is none, or if the item must fail."""
        if self._failure is not None:
            raise self._failure
        return self.own_request

    @property
    def own_request(self) -> Request:
        """The request, also of an item that must fail; raises the error if there is none."""
        request = self._request
        if isinstance(request, Request):
            return request
        if isinstance(request, HeadraceError):
            raise request
        return request(self.id)

    def fail(self, error: HeadraceError) -> None:
        """Let the item fail with this error when it is sent next."""
        self._failure = error


ResultHandler: TypeAlias = Callable[[list[ItemResult]], None]
"""Receives results as they arrive."""

_BATCH = 16
"""Results that are handled together. Handling them one by one would cost 5 µs more per item."""


class Executor(Protocol):
    """Makes the calls of items.

    An executor may also have ``async unfinished() -> UnfinishedCalls``, by which a stopping run reports what
    its calls in flight wait for. One whose calls go on without this process has ``stop()``: it is called when
    the run must stop, and ``work`` then soon raises `RunDetached`. Its ``going_on``, a text, says what goes
    on and how to continue, for a run that ends before. ``status``, a text, is shown with the progress of the
    run.

    What can be changed while a run goes on depends on further members: ``max_in_flight``, the most calls in
    flight, can be set; ``pause()`` and ``resume()`` replace those of the run, if an executor must not be
    starved of items; ``set_limit(name, value)`` gets the limits of policies, if calls are made elsewhere;
    ``async cancel(indexes)`` cancels the calls of items that are in flight.

    An executor that parks items (see `DrawnItems`) may have ``async cancel_parked(ids)``: of these ids, it
    lets the parked ones fail with a `CallCancelled`, and returns those that are not sent and those whose
    answers it drops when they come. One whose calls take hours may have ``draw_again(items)``, so that failed
    items are sent again beside them: it draws further items. If its work is ending, it leaves them for the
    next pass.
    """

    @property
    def in_flight(self) -> int:
        """The number of calls in flight."""

    async def work(self, items: Iterator[WorkItem], handle: ResultHandler) -> None:
        """Draw items while more calls can be made, and return when all results are handled.

        A result is handled as soon as the tasks that are ready now have run. An exception from ``handle``
        ends the work.

        If rows need several calls, an asynchronous iteration over the items waits for those that follow from
        results. An executor whose calls take hours sets ``items.when_waiting``, a function: it is called when
        the iteration begins to wait, and ``items.is_waiting`` is true until the next result.
        """


def carry_over(client: Client, spent: Decimal) -> None:
    """Pass the cost of earlier sessions of the run, in USD, to the policies that have ``resume``."""
    for policy in client.policies:
        resume = getattr(policy, "resume", None)
        if resume is not None:
            resume(spent)


class LocalExecutor(ClientExecutor):
    """Makes the calls with one client, in this process.

    Args:
        client: An open client.
        choices: The allowed answers; empty for any.
        max_in_flight: Maximum number of calls at once; None for the client's limit.
        fail_on: The finish reasons that make an item fail; see `headrace.bulk.run`.
        step_choices: The allowed answers of each step, in place of ``choices``; empty without steps.
    """

    def __init__(
        self,
        client: Client,
        choices: Sequence[str] = (),
        max_in_flight: int | None = None,
        fail_on: Set[str] = DEFAULT_FAIL_ON,
        step_choices: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(client, max_in_flight)
        self._choices = step_choices or (choices,)
        self._fail_on = fail_on

    async def cancel(self, indexes: Set[int]) -> None:
        """Cancel the calls of these items that are in flight; they fail with a `CallCancelled`."""
        await self._maps.cancel(lambda item: item.index in indexes)

    async def work(self, items: Iterator[WorkItem], handle: ResultHandler) -> None:
        """See `Executor.work`."""
        buffer = _ResultBuffer(handle, self._choices, self._fail_on)
        async with task_group() as group:
            group.start_soon(buffer.flush_regularly)
            try:
                await self._maps.map(items).each(buffer.add)
            finally:
                group.cancel_scope.cancel()
                buffer.flush_rest()


class _ResultBuffer:
    """Results that are not handled yet."""

    def __init__(self, handle: ResultHandler, choices: Sequence[Sequence[str]], fail_on: Set[str]) -> None:
        self._handle = handle
        self._choices = choices
        self._fail_on = fail_on
        self._results: list[ItemResult] = []
        self._added = anyio.Event()
        self._handler_failed = False

    @uninterrupted
    def add(self, outcome: Outcome) -> None:
        """Add the result of an item."""
        item: WorkItem = outcome.item
        choices = self._choices[item.step]
        result = item_result(item.index, item.id, outcome, choices, self._fail_on, item.digest)
        result.number, result.step = item.number, item.step
        self._results.append(result)
        if len(self._results) == _BATCH or result.may_pause_drawing:
            self._flush()
        elif len(self._results) == 1:
            self._added.set()

    @uninterrupted
    async def flush_regularly(self) -> None:
        """Flush whenever the tasks that were ready have run."""
        while True:
            await self._added.wait()
            self._added = anyio.Event()
            if self._results:
                self._flush()

    @uninterrupted
    def flush_rest(self) -> None:
        """Flush at the end, unless the handler failed: one error must not become two."""
        if self._results and not self._handler_failed:
            self._flush()

    def _flush(self) -> None:
        results, self._results = self._results, []
        self._handler_failed = True
        self._handle(results)
        self._handler_failed = False
