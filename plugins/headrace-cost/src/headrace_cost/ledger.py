"""A budget that several processes share: a file under a lock, in which each has what it reserved.

A process that dies leaves its reservations behind. Nobody knows what its attempts did cost, so they count as
spent: the budget is not overdrawn.
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
from headrace_cost.budget import goes_first
from headrace_cost.rates import ZERO, add, subtract

POLL = 0.05
"""Seconds after which an attempt that waits looks whether others have come back with less."""


class _LedgerPage(msgspec.Struct):
    """What stands in the file: USD spent in this session and ``before``, and reserved by process id."""

    before: Decimal = ZERO
    spent: Decimal = ZERO
    reserved: dict[str, Decimal] = {}


class Ledger:
    """The `headrace_cost.budget.Account` of all processes that name the same file.

    The attempts of a process wait by priority, and the first of them looks whether something has come back.
    Those of several processes have no order: the first that looks takes it.
    """

    def __init__(self, limit: Decimal, path: Path) -> None:
        self.limit = limit
        self._path = path
        self._own = str(os.getpid())
        self._reserved = ZERO
        self._waiting: WaitingQueue[Decimal] = WaitingQueue()
        self._is_over = False

    def successor(self) -> Ledger:
        """See `headrace_cost.budget.Account.successor`."""
        self.settle(self._reserved, self._reserved)
        self._is_over = True
        return Ledger(self.limit, self._path)

    @property
    def spent(self) -> Decimal:
        """USD spent by all, and before."""
        with self._open() as page:
            return add(page.before, page.spent)

    def reserve_nowait(self, amount: Decimal, priority: float = 0) -> bool | None:
        """See `headrace_cost.budget.Account.reserve_nowait`."""
        return self._look(amount, may_take=goes_first(self._waiting, amount, priority))

    async def reserve(self, amount: Decimal, priority: float = 0) -> bool:
        """See `headrace_cost.budget.Account.reserve`."""
        granted = self.reserve_nowait(amount, priority)
        if granted is not None:
            return granted
        waiter = Waiter(amount, priority)
        self._waiting.join(waiter)
        try:
            while True:
                if self._waiting.first() is waiter:
                    await anyio.sleep(POLL)
                    granted = self._look(amount, may_take=self._waiting.first() is waiter)
                    if granted is not None:
                        return granted
                else:
                    await waiter.until_woken()
        finally:
            self._waiting.leave(waiter)
            if (first := self._waiting.first()) is not None:
                first.wake()

    def _look(self, amount: Decimal, *, may_take: bool) -> bool | None:
        with self._open() as page:
            _reclaim_dead(page)
            spent = add(page.before, page.spent)
            if add(spent, amount) > self.limit:
                return False
            if not may_take or add(add(spent, _sum(page)), amount) > self.limit:
                return None
            page.reserved[self._own] = add(page.reserved.get(self._own, ZERO), amount)
        self._reserved = add(self._reserved, amount)
        return True

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `headrace_cost.budget.Account.settle`."""
        if self._is_over:
            return
        self._reserved = subtract(self._reserved, amount)
        with self._open() as page:
            page.reserved[self._own] = subtract(page.reserved.get(self._own, ZERO), amount)
            page.spent = add(page.spent, cost)

    def _spent_before(self) -> Decimal:
        try:
            return Decimal(self._path.with_name(SPENT_BEFORE).read_text())
        except FileNotFoundError:
            return ZERO

    @contextlib.contextmanager
    def _open(self) -> Iterator[_LedgerPage]:
        """The page, locked for the block, and written back at its end."""
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
            # In one write of one size or more: what a kill between could leave is what was there before.
            data = msgspec.json.encode(page)
            os.pwrite(file, data.ljust(len(written)), 0)
        finally:
            os.close(file)


def _sum(page: _LedgerPage) -> Decimal:
    total = ZERO
    for amount in page.reserved.values():
        total = add(total, amount)
    return total


def _reclaim_dead(page: _LedgerPage) -> None:
    """Count as spent what processes that are no more had reserved."""
    for process in list(page.reserved):
        if not _lives(int(process)):
            page.spent = add(page.spent, page.reserved.pop(process))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
