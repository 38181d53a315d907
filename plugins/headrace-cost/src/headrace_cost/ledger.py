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

from headrace.plugins import SPENT_BEFORE
from headrace_cost.rates import ZERO, add, subtract

POLL = 0.05
"""Seconds after which a call that waits looks whether others have come back with less."""


class _Page(msgspec.Struct):
    """What stands in the file: USD spent in this session and ``before``, and reserved by process id."""

    before: Decimal = ZERO
    spent: Decimal = ZERO
    reserved: dict[str, Decimal] = {}


class Ledger:
    """The `headrace_cost.budget.Account` of all processes that name the same file.

    Attempts that wait have no order: the first that looks takes what has come back.
    """

    def __init__(self, limit: Decimal, path: Path) -> None:
        self.limit = limit
        self._path = path
        self._own = str(os.getpid())

    @property
    def spent(self) -> Decimal:
        """USD spent by all, and before."""
        with self._open() as page:
            return add(page.before, page.spent)

    async def reserve(self, amount: Decimal) -> bool:
        """See `Account.reserve`."""
        while True:
            with self._open() as page:
                _bury(page)
                spent = add(page.before, page.spent)
                if add(spent, amount) > self.limit:
                    return False
                if add(add(spent, _sum(page)), amount) <= self.limit:
                    page.reserved[self._own] = add(page.reserved.get(self._own, ZERO), amount)
                    return True
            await anyio.sleep(POLL)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """See `Account.settle`."""
        with self._open() as page:
            page.reserved[self._own] = subtract(page.reserved.get(self._own, ZERO), amount)
            page.spent = add(page.spent, cost)

    def _spent_before(self) -> Decimal:
        try:
            return Decimal(self._path.with_name(SPENT_BEFORE).read_text())
        except FileNotFoundError:
            return ZERO

    @contextlib.contextmanager
    def _open(self) -> Iterator[_Page]:
        """The page, locked for the block, and written back at its end."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            written = os.read(file, 1 << 20)
            page = msgspec.json.decode(written, type=_Page) if written else _Page(before=self._spent_before())
            yield page
            # In one write of one size or more: what a kill between could leave is what was there before.
            data = msgspec.json.encode(page)
            os.pwrite(file, data.ljust(len(written)), 0)
        finally:
            os.close(file)


def _sum(page: _Page) -> Decimal:
    total = ZERO
    for amount in page.reserved.values():
        total = add(total, amount)
    return total


def _bury(page: _Page) -> None:
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
