"""Sends the failed items of a run again while it goes on: removes their lines, and draws them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from headrace.bulk.checked_input import CheckedInput
from headrace.bulk.drawing_gate import DrawingGate
from headrace.bulk.executor import Executor
from headrace.bulk.input_check import InputCheck
from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.journal import Journal
from headrace.bulk.memory_journal import MemoryJournal
from headrace.bulk.result_store import ResultStore
from headrace.bulk.row_calls import RowCalls
from headrace.bulk.summary import Summary
from headrace.errors import ControlRefused, JournalError


class RetriedFailures:
    """Sends the failed items of a session again.

    With most executors, the drawing stops until the calls in flight are finished. Then lines are removed, and
    the failed items are drawn first. Calls that take hours are not waited for: an executor of such calls has
    ``draw_again``, which gets the failed items beside them.

    Args:
        journal: Where results are stored.
        calls: Decides which calls a row needs.
        check: Knows the ids of the input.
        checked: Reads the rest of the input first.
        feed: Draws the items.
        summary: The totals, in which failures are counted.
        gate: Stops the drawing of items.
        on_removed: Called after lines were removed.
        notify: Called with a line of text if the lines cannot be removed.

    Attributes:
        wanted: Whether failed items are to be sent again, and are not among the items yet.
    """

    def __init__(
        self,
        journal: ResultStore,
        calls: RowCalls,
        check: InputCheck | None,
        checked: CheckedInput,
        feed: ItemFeed,
        summary: Summary,
        gate: DrawingGate,
        *,
        on_removed: Callable[[], None],
        notify: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._calls = calls
        self._check = check
        self._checked = checked
        self._feed = feed
        self._summary = summary
        self._gate = gate
        self._on_removed = on_removed
        self._notify = notify
        self._asked = anyio.Event()
        self._turn = anyio.Lock()
        self.wanted: bool = False

    def request(self, executor: Executor | None) -> int:
        """Have the failed items sent again; returns how many have failed, in all sessions.

        Raises:
            ControlRefused: It is not possible in this run.
        """
        self._check_possible(executor)
        number = self._summary.failed_before + self._summary.failed
        if number:
            self.wanted = True
            if hasattr(executor, "draw_again"):
                self._asked.set()
            else:
                self._gate.interrupt()
        return number

    def _check_possible(self, executor: Executor | None) -> None:
        if not isinstance(self._journal, Journal | MemoryJournal):
            raise ControlRefused("the lines of this run are on stdout, so failed ones cannot be replaced")
        if hasattr(executor, "stop") and not hasattr(executor, "draw_again"):
            raise ControlRefused(
                "the engine of this run cannot send failed items again; stop the run, and run its command "
                'again with only="failed"'
            )
        if self._check is None or not self._check.reads_ahead:
            raise ControlRefused(
                "the rows of this run can be read only once; when it has ended, run its command again with "
                'the same rows and only="failed"'
            )

    async def between_passes(self) -> None:
        """Send the failed items in the next pass, if that is wanted. No call is in flight."""
        async with self._turn:
            if self.wanted:
                await self._carry_out(None)

    async def beside_calls(self, executor: Any) -> None:
        """Whenever it is wanted, send the failed items beside calls that take hours; until cancelled."""
        while hasattr(executor, "draw_again"):
            await self._asked.wait()
            self._asked = anyio.Event()
            async with self._turn:
                if self.wanted:
                    await self._carry_out(executor)

    async def _carry_out(self, executor: Any | None) -> None:
        try:
            if await self._checked.finish_early() and (ids := await self._remove(executor is not None)):
                self._feed.add_again(ids)
                self._on_removed()
                if executor is not None:
                    executor.draw_again(self._feed.items_again())
        except JournalError as error:
            self._notify(f"The failed items are not sent again: {error}")
        finally:
            self.wanted = False
            self._gate.proceed()
        self._checked.count()

    async def _remove(self, beside_calls: bool) -> set[str]:
        """Remove the lines of failed items, and count them as not done; returns their ids."""
        await anyio.to_thread.run_sync(self._calls.note_session)
        if isinstance(self._journal, MemoryJournal):
            removed = self._remove_lines()
        else:
            assert isinstance(self._journal, Journal)
            async with self._journal.turn:
                if beside_calls:
                    removed = set(await self._journal.remove_beside_calls(self._is_chosen))
                    self._calls.note_session()  # what came in the meantime
                else:
                    removed = await anyio.to_thread.run_sync(self._remove_lines)
        assert self._check is not None
        self._calls.forget_failed()
        self._check.done -= self._check.failed
        self._check.failed = 0
        self._summary.forget_failures()
        return removed

    def _remove_lines(self) -> set[str]:
        journal = self._journal
        self._calls.note_session()  # what came in the meantime
        if isinstance(journal, MemoryJournal):
            return journal.remove_failed()
        assert isinstance(journal, Journal)
        return set(journal.remove(self._is_chosen))

    def _is_chosen(self, id: str) -> bool:
        assert isinstance(self._journal, Journal)
        assert self._check is not None
        return self._journal.has_failed(id) and id in self._check
