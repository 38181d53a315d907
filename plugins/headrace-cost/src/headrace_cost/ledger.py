"""A budget that several processes share: a file under a lock, in which each has what it reserved.

A process that dies leaves its reservations behind. Nobody knows what its calls did cost, so they count as
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

from headrace_cost.prices import MONEY, ZERO

POLL = 0.05
"""Seconds after which a call that waits looks whether others have come back with less."""


class _Page(msgspec.Struct):
    """What stands in the file: USD spent, and reserved by process id."""

    spent: Decimal = ZERO
    reserved: dict[str, Decimal] = {}


class Ledger:
    """Like `headrace_cost.budget.Budget`, but of all processes that name the same file.

    Calls that wait come in no order: whoever looks first takes what has come back.
    """

    def __init__(self, limit: Decimal, path: Path) -> None:
        self.limit = limit
        self._path = path
        self._own = str(os.getpid())

    @property
    def spent(self) -> Decimal:
        """USD spent by all."""
        with self._open() as page:
            return page.spent

    async def reserve(self, amount: Decimal) -> bool:
        """Set ``amount`` aside, if need be once other calls are settled; False where it can never fit."""
        while True:
            with self._open() as page:
                _bury(page)
                if MONEY.add(page.spent, amount) > self.limit:
                    return False
                if MONEY.add(MONEY.add(page.spent, _sum(page)), amount) <= self.limit:
                    page.reserved[self._own] = MONEY.add(page.reserved.get(self._own, ZERO), amount)
                    return True
            await anyio.sleep(POLL)

    def settle(self, amount: Decimal, cost: Decimal) -> None:
        """Give a reservation of ``amount`` back and book what the call did cost."""
        with self._open() as page:
            page.reserved[self._own] = MONEY.subtract(page.reserved.get(self._own, ZERO), amount)
            page.spent = MONEY.add(page.spent, cost)

    @contextlib.contextmanager
    def _open(self) -> Iterator[_Page]:
        """The page, locked for the block, and written back at its end."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            written = os.read(file, 1 << 20)
            page = msgspec.json.decode(written, type=_Page) if written else _Page()
            yield page
            # In one write of one size or more: what a kill between could leave is what was there before.
            data = msgspec.json.encode(page)
            os.pwrite(file, data.ljust(len(written)), 0)
        finally:
            os.close(file)


def _sum(page: _Page) -> Decimal:
    total = ZERO
    for amount in page.reserved.values():
        total = MONEY.add(total, amount)
    return total


def _bury(page: _Page) -> None:
    """Count as spent what processes that are no more had reserved."""
    for process in list(page.reserved):
        if not _lives(int(process)):
            page.spent = MONEY.add(page.spent, page.reserved.pop(process))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
