"""What an actor does with orders, and what it reports; without a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import pytest

from headrace import SettingsError
from headrace.bulk import Cancellation, ItemResult, Summary, decode_totals
from headrace_ray.orders import ActorOrders
from headrace_ray.places import ActorPlace
from headrace_ray.reports import read_reports
from headrace_ray.running_blocks import RunningBlocks
from headrace_ray.shards import ActorShard

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Block:
    """A block that is being worked on."""

    summary: Summary = attrs.field(factory=lambda: Summary(0))
    paused: bool = False
    stopped: bool = False
    drawn: list[str] = attrs.field(factory=list)
    cancelled: list[str] = attrs.field(factory=list)

    async def cancel(self, ids: Collection[str]) -> Cancellation:
        self.cancelled += ids
        return Cancellation(in_flight=[id for id in ids if id in self.drawn])

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def stop(self) -> None:
        self.stopped = True


class Meter:
    """A policy with a limit, which keeps how often it was set."""

    def __init__(self, circuits: Callable[[], Mapping[str, str]] = dict) -> None:
        self.open_circuits = circuits
        self.set: list[Any] = []

    def adjustable_limits(self) -> dict[str, Any]:
        return {"meter": None}

    def set_limit(self, name: str, value: Any) -> None:
        self.set.append(value)
        if value == "bad":
            raise SettingsError("not valid here")


class Actor:
    """An actor with a client that makes no calls."""

    def __init__(self, out: Path, meter: Meter) -> None:
        self.shared = out / ".shared-s"
        self.shared.mkdir(parents=True)
        self.limiter = SimpleNamespace(total_tokens=20)
        client: Any = SimpleNamespace(limiter=self.limiter, policies=[meter], in_flight=3)
        self.shard = ActorShard(out, "s", "a")
        place = ActorPlace(number=1, actors=2)
        self.blocks: Any = RunningBlocks(client, place, self.shared, self.shard.path)


async def test_blocks_follow_orders_also_those_that_begin_later(tmp_path: Path) -> None:
    meter = Meter()
    actor = Actor(tmp_path, meter)
    orders, first, later = ActorOrders(actor.shared, 2, 40), Block(), Block()
    await actor.blocks.add(first)
    await actor.blocks.follow_orders()
    orders.paused = True
    await actor.blocks.follow_orders()
    await actor.blocks.add(later)
    assert first.paused
    assert later.paused
    orders.max_in_flight = 61
    orders.set_limit("meter", 5)
    await actor.blocks.follow_orders()
    assert (actor.limiter.total_tokens, meter.set, first.paused) == (30, [5], True)
    actor.limiter.total_tokens = 7  # by a policy, for example
    orders.paused = False
    await actor.blocks.follow_orders()
    assert not first.paused
    assert not later.paused
    assert (actor.limiter.total_tokens, meter.set) == (7, [5]), "only what was changed is set"
    actor.blocks.stop()
    assert first.stopped


async def test_a_limit_that_this_actor_refuses_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actor = Actor(tmp_path, Meter())
    ActorOrders(actor.shared, 2, 40).set_limit("meter", "bad")
    await actor.blocks.follow_orders()
    assert [record.getMessage() for record in caplog.records] == ["meter=bad: not valid here"]


async def reports_of(actor: Actor, number: int) -> list[tuple[Any, bool]]:
    """The reports once they count so many items."""
    found: list[tuple[Any, bool]] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(actor.blocks.report_regularly)
            while not found or decode_totals(found[0][0].totals).succeeded != number:
                await anyio.sleep(0.001)
                found = list(read_reports(actor.shared))
            group.cancel_scope.cancel()
    return found


async def test_finished_and_running_blocks_are_reported(tmp_path: Path) -> None:
    actor = Actor(tmp_path, Meter(lambda: {"http://x": "down"}))
    finished, waiting, paused = Block(), Block(), Block(paused=True)
    for block in (finished, waiting):
        block.summary.add(ItemResult(0, answered=True))
        await actor.blocks.add(block)
    waiting.summary.waiting = "the endpoint is down"
    actor.blocks.remove(finished)
    ((report, is_alive),) = await reports_of(actor, 2)
    assert (report.in_flight, report.waiting, is_alive) == (3, "the endpoint is down", True)
    assert report.circuits == {"http://x": "down"}
    paused.summary.waiting = "paused"
    await actor.blocks.add(paused)
    paused.summary.add(ItemResult(1, answered=True))
    ((report, _),) = await reports_of(actor, 3)
    assert report.waiting == ""


async def test_a_report_that_cannot_be_made_does_not_disturb_the_calls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Mapping[str, str]:
        raise KeyError("x")

    actor = Actor(tmp_path, Meter(fail))
    await actor.blocks.report_regularly()
    assert [record.getMessage() for record in caplog.records] == ["this actor does not report any more"]


async def test_cancelled_items_are_those_of_all_blocks_and_reported_at_once(tmp_path: Path) -> None:
    actor = Actor(tmp_path, Meter())
    orders, first, later = ActorOrders(actor.shared, 2, 40), Block(drawn=["a"]), Block()
    await actor.blocks.add(first)
    assert orders.cancel(["a", "b"]) == 1
    async with anyio.create_task_group() as group:
        group.start_soon(actor.blocks.report_regularly)
        await actor.blocks.follow_orders()
        await actor.blocks.add(later)
        assert orders.cancel(["c"]) == 2
        group.start_soon(actor.blocks.follow_regularly)
        reports: list[Any] = []
        with anyio.fail_after(10):
            while not reports or reports[0].followed < 2:
                await anyio.sleep(0.001)
                reports = [report for report, _ in read_reports(actor.shared)]
        group.cancel_scope.cancel()
    assert reports[0].cancelled == ["a"]
    assert first.cancelled == later.cancelled == ["a", "b", "c"], "each once"


async def test_totals_are_added_up_only_if_a_block_has_counted_something(tmp_path: Path) -> None:
    actor, block = Actor(tmp_path, Meter()), Block()
    await actor.blocks.add(block)
    before = actor.blocks._current_report().totals
    assert actor.blocks._current_report().totals is before
    block.summary.add(ItemResult(0, answered=True))
    assert decode_totals(actor.blocks._current_report().totals).succeeded == 1
