"""A budget that several processes share: a locked file with the reservations of each process.

A process that dies leaves its reservations in the file. The cost of its attempts is unknown, so the
reservations count as spent, and the budget is not overdrawn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import anyio
import msgspec

from headrace.plugins import SPENT_BEFORE, Waiter, WaitingQueue
from headrace_cost.budget import precedes_waiters
from headrace_cost.token_rates import ZERO, add, subtract

POLL_INTERVAL = 0.05
"""Seconds between two checks of a waiting attempt for amounts that others released."""


class _LedgerPage(msgspec.Struct):
    """The content of the file: USD spent in this session and ``before``, and reserved by process id."""

    before: Decimal = ZERO
    spent: Decimal = ZERO
    reserved: dict[str, Decimal] = {}


class Ledger:
    """The `headrace_cost.budget.BudgetAccount` of all processes that use the same file.

    The attempts of one process wait by priority, and the first of them polls the file. There is no order
    between processes: the first to poll gets a released amount.
    """

    def __init__(self, limit: Decimal, path: Path) -> None:
        self.limit: Decimal = limit
        self._path = path
        self._process_id = str(os.getpid())
        self._reserved = ZERO
        self._waiting: WaitingQueue[Decimal] = WaitingQueue()
        self._closed = False

    def successor(self) -> Ledger:
        """See `headrace_cost.budget.BudgetAccount.successor`."""
        self.settle(self._reserved, self._reserved)
        self._closed = True
        return Ledger(self.limit, self._path)

    def change_limit(self, limit: Decimal) -> None:
        """See `headrace_cost.budget.BudgetAccount.change_limit`; the first waiting attempt polls it."""
        self.limit = limit

    @property
    def spent(self) -> Decimal:
        """USD spent by all processes, including earlier sessions of the run."""
        with self._locked_page() as page:
            return add(page.before, page.spent)

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """See `headrace_cost.budget.BudgetAccount.reserve_nowait`."""
        return self._try_reserve(amount, may_take=precedes_waiters(self._waiting, amount, priority))

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """See `headrace_cost.budget.BudgetAccount.reserve`."""
        granted = self.reserve_nowait(amount, priority)
        if granted is not None:
            return granted
        waiter = Waiter(amount, priority)
        self._waiting.join(waiter)
        try:
            while True:
                if self._waiting.first() is waiter:
                    await anyio.sleep(POLL_INTERVAL)
                    granted = self._try_reserve(amount, may_take=self._waiting.first() is waiter)
                    if granted is not None:
                        return granted
                else:
                    await waiter.until_woken()
        finally:
            self._waiting.leave(waiter)
            if (first := self._waiting.first()) is not None:
                first.wake()

    def _try_reserve(self, amount: Decimal, *, may_take: bool) -> bool | None:
        """Reserve ``amount`` if it fits and ``may_take``; False if it can never fit, None otherwise."""
        with self._locked_page() as page:
            _reclaim_dead(page)
            spent = add(page.before, page.spent)
            if add(spent, amount) > self.limit:
                return False
            if not may_take or add(add(spent, _total_reserved(page)), amount) > self.limit:
                return None
            page.reserved[self._process_id] = add(page.reserved.get(self._process_id, ZERO), amount)
        self._reserved = add(self._reserved, amount)
        return True

    def reserve_always(self, amount: Decimal) -> None:
        """See `headrace_cost.budget.BudgetAccount.reserve_always`."""
        self._reserved = add(self._reserved, amount)
        with self._locked_page() as page:
            page.reserved[self._process_id] = add(page.reserved.get(self._process_id, ZERO), amount)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `headrace_cost.budget.BudgetAccount.settle`."""
        if self._closed:
            return
        self._reserved = subtract(self._reserved, amount)
        with self._locked_page() as page:
            page.reserved[self._process_id] = subtract(page.reserved.get(self._process_id, ZERO), amount)
            page.spent = add(page.spent, cost)

    def _spent_before(self) -> Decimal:
        try:
            return Decimal(self._path.with_name(SPENT_BEFORE).read_text())
        except FileNotFoundError:
            return ZERO

    @contextlib.contextmanager
    def _locked_page(self) -> Iterator[_LedgerPage]:
        """The page; the file is locked during the block, and the page is written at its end."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            written = os.read(file, 1 << 20)
            page = (
                msgspec.json.decode(written, type=_LedgerPage)
                if written
                else _LedgerPage(before=self._spent_before())
            )
            yield page
            # One write that is at least as long as the old page: a kill leaves the old page or the new one.
            data = msgspec.json.encode(page)
            os.pwrite(file, data.ljust(len(written)), 0)
        finally:
            os.close(file)


def _total_reserved(page: _LedgerPage) -> Decimal:
    total = ZERO
    for amount in page.reserved.values():
        total = add(total, amount)
    return total


def _reclaim_dead(page: _LedgerPage) -> None:
    """Count the reservations of dead processes as spent."""
    for process in list(page.reserved):
        if not _is_alive(int(process)):
            page.spent = add(page.spent, page.reserved.pop(process))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
