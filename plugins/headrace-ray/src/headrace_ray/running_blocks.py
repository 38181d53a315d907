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
from headrace_ray.reports import ActorReport, ReportFile, common_reason

_log = logging.getLogger("headrace")

_REPORT_INTERVAL = 1.0
"""Seconds between two reports."""


class RunningBlocks:
    """The blocks of an actor. All methods are called in its event loop.

    Args:
        client: The client of the actor.
        shared: The folder that the processes of the session share.
        shard: The shard of the actor.
    """

    def __init__(self, client: Client, shared: Path, shard: Path) -> None:
        self._client = client
        self._orders = OrderReader(shared)
        self._report = ReportFile(shared, shard)
        self._running: set[BulkRun] = set()
        self._finished = Summary(0)
        self._followed = Orders()

    def add(self, block: BulkRun) -> None:
        """Note that the work on a block begins."""
        self._running.add(block)
        if self._followed.paused:
            block.pause()

    def remove(self, block: BulkRun) -> None:
        """Note that the work on a block has ended."""
        self._running.remove(block)
        self._finished.merge(block.summary)

    def stop(self) -> None:
        """Draw no more items."""
        for block in self._running:
            block.stop()

    def follow_orders(self) -> None:
        """Carry out what the driver has ordered since the last call."""
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
        if orders.share is not None and orders.share != before.share:
            raise_file_limit(orders.share)
            self._client.limiter.total_tokens = orders.share
        for name, value in orders.limits.items() - before.limits.items():
            try:
                set_policy_limit(self._client.policies, name, value)
            except HeadraceError as error:  # the driver has checked it, perhaps with other settings
                _log.warning("%s=%s: %s", name, value, error)

    async def report_regularly(self) -> None:
        """Report what is done and in flight, until cancelled. An error must not disturb the calls."""
        while True:
            try:
                await anyio.to_thread.run_sync(self._report.write, self._current_report())
            except (OSError, UnicodeEncodeError):  # the next report has all of this one
                pass
            except Exception:
                _log.warning("this actor does not report any more", exc_info=True)
                return
            await anyio.sleep(_REPORT_INTERVAL)

    def _current_report(self) -> ActorReport:
        totals = self._finished.snapshot()
        for block in self._running:
            totals.merge(block.summary)
        reasons = ["" if block.paused else block.summary.waiting for block in self._running]
        return ActorReport(
            in_flight=self._client.in_flight,
            waiting=common_reason(reasons),
            circuits=open_circuits(self._client.policies),
            totals=msgspec.Raw(encode_totals(totals)),
        )
