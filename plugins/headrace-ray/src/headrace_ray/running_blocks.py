"""The blocks that an actor works on: they follow the orders of the driver, and are reported to it."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from headrace import Client, HeadraceError
from headrace.bulk import (
    BulkRun,
    Summary,
    encode_totals,
    open_circuits,
    raise_file_limit,
    set_policy_limit,
)
from headrace_ray.orders import OrderReader, Orders
from headrace_ray.places import ActorPlace
from headrace_ray.reports import ActorReport, ReportFile, common_reason

_log = logging.getLogger("headrace")

_ORDERS_INTERVAL = 0.2
"""Seconds between two looks for orders."""

_REPORT_INTERVAL = 1.0
"""Seconds between two reports."""


class RunningBlocks:
    """The blocks of an actor. All methods are called in its event loop.

    Args:
        client: The client of the actor.
        place: The place of the actor among all.
        shared: The folder that the processes of the session share.
        shard: The shard of the actor.
    """

    def __init__(self, client: Client, place: ActorPlace, shared: Path, shard: Path) -> None:
        self._client = client
        self._place = place
        self._orders = OrderReader(shared)
        self._report = ReportFile(shared, shard)
        self._running: set[BulkRun] = set()
        self._finished = Summary(0)
        self._followed = Orders()
        self._carried_out = 0
        self._cancelled: list[str] = []
        self._report_is_due = anyio.Event()
        self._counted: object = None
        self._totals = msgspec.Raw()

    async def add(self, block: BulkRun) -> None:
        """Note that the work on a block begins. Its executor must be attached."""
        self._running.add(block)
        if self._followed.paused:
            block.pause()
        await self._cancel(self._followed.cancelled, [block])

    def remove(self, block: BulkRun) -> None:
        """Note that the work on a block has ended."""
        self._running.remove(block)
        self._finished.merge(block.summary)

    def stop(self) -> None:
        """Draw no more items."""
        for block in self._running:
            block.stop()

    async def follow_regularly(self) -> None:
        """Follow orders until cancelled, also while the session stops; a cancelled call may take a while."""
        while True:
            await anyio.sleep(_ORDERS_INTERVAL)
            await self.follow_orders()

    async def follow_orders(self) -> None:
        """Carry out what the driver has ordered since the last call, and report that soon."""
        orders = self._orders.read_new()
        if orders is None:
            return
        before, self._followed = self._followed, orders
        if orders.paused != before.paused:
            for block in self._running:
                if orders.paused:
                    block.pause()
                else:
                    block.resume()
        if orders.max_in_flight is not None and orders.max_in_flight != before.max_in_flight:
            share = self._place.share_of(orders.max_in_flight)
            raise_file_limit(share)
            self._client.limiter.total_tokens = share
        for name, value in orders.limits.items() - before.limits.items():
            try:
                set_policy_limit(self._client.policies, name, value)
            except HeadraceError as error:  # the driver has checked it, perhaps with other settings
                _log.warning("%s=%s: %s", name, value, error)
        earlier = set(before.cancelled)
        new = [id for id in orders.cancelled if id not in earlier]
        self._cancelled += await self._cancel(new, list(self._running))
        self._carried_out = orders.number
        self._report_is_due.set()

    async def _cancel(self, ids: list[str], blocks: list[BulkRun]) -> list[str]:
        """Let items of blocks fail; returns those that were in flight."""
        return [id for block in blocks if ids for id in (await block.cancel(ids)).in_flight]

    async def report_regularly(self) -> None:
        """Report what is done and in flight, until cancelled. An error must not disturb the calls."""
        while True:
            self._report_is_due = anyio.Event()
            try:
                await anyio.to_thread.run_sync(self._report.write, self._current_report())
            except (OSError, UnicodeEncodeError):  # the next report has all of this one
                pass
            except Exception:
                _log.warning("this actor does not report any more", exc_info=True)
                return
            with anyio.move_on_after(_REPORT_INTERVAL):
                await self._report_is_due.wait()

    def _current_report(self) -> ActorReport:
        reasons = ["" if block.paused else block.summary.waiting for block in self._running]
        return ActorReport(
            in_flight=self._client.in_flight,
            waiting=common_reason(reasons),
            circuits=open_circuits(self._client.policies),
            totals=self._current_totals(),
            followed=self._carried_out,
            cancelled=self._cancelled,
        )

    def _current_totals(self) -> msgspec.Raw:
        """The totals of all blocks; they are added up again only if a block has counted something since."""
        summaries = [self._finished, *(block.summary for block in self._running)]
        counted = [(id(each), each.succeeded, each.failed, each.retries) for each in summaries]
        if counted != self._counted:
            totals = self._finished.snapshot()
            for block in self._running:
                totals.merge(block.summary)
            self._counted, self._totals = counted, msgspec.Raw(encode_totals(totals))
        return self._totals
