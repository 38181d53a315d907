"""One client as a member of those that share an account: it admits calls, and reports to the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import attrs

from headrace import Call
from headrace.plugins import BoundedMapping, TaskGroupFactory, Waiter
from headrace_redis.availability import RedisAvailability
from headrace_redis.exchanges import Exchanges
from headrace_redis.gcra import GcraLimits
from headrace_redis.redis_link import RedisLink
from headrace_redis.rejection import RejectionRules
from headrace_redis.server import RedisServer
from headrace_redis.shared_budget import SharedBudget
from headrace_redis.shared_lane import SharedLane, SharedLanes
from headrace_redis.turns import TurnRequest

_REQUEUE_BONUS = 0.5
"""Added to the priority, an integer, of a call that queues again: it goes before others of its priority."""


class MemberSettings(Protocol):
    """The settings that a member needs; see `headrace_redis.Account`."""

    @property
    def budget_nano(self) -> int | None: ...
    @property
    def processes(self) -> int | None: ...
    @property
    def max_pause(self) -> float: ...
    def limits_of(self, endpoint: str, model: str) -> GcraLimits: ...


def _lane_factory(settings: MemberSettings) -> Callable[[tuple[str, str, str]], SharedLane]:
    def make(key: tuple[str, str, str]) -> SharedLane:
        base_url, endpoint, model = key
        return SharedLane(f"{base_url} {model}", base_url, settings.limits_of(endpoint, model))

    return make


@attrs.define(eq=False, init=False)
class AccountMember:
    """What one client shares with all others while it is open."""

    lanes: SharedLanes
    budget: SharedBudget
    availability: RedisAvailability
    link: RedisLink
    _exchanges: Exchanges
    _rejection: RejectionRules

    def __init__(self, server: RedisServer, settings: MemberSettings) -> None:
        self.lanes = BoundedMapping(
            _lane_factory(settings), in_use=lambda lane: bool(lane.queue or lane.ahead)
        )
        self.budget = SharedBudget(settings.budget_nano)
        self.availability = RedisAvailability(server, settings.processes)
        self._exchanges = Exchanges(self.lanes, self.budget, self.availability)
        self._rejection = RejectionRules(self.budget, self.availability, settings.max_pause)
        self.link = RedisLink(self.lanes, self.budget, self.availability, self._exchanges, self._rejection)

    @asynccontextmanager
    async def open(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        """Run the link to Redis inside the block; raise `SettingsError` if Redis cannot be used.

        The state of an earlier block is discarded: it may belong to another event loop and its clock.
        """
        self.lanes.forget()
        self.availability.reset()
        await self.link.connect()
        (await group()).start_soon(self.link.run, name="headrace redis")
        try:
            yield
        finally:
            await self.link.flush()

    async def admit(self, lane: SharedLane, call: Call, tokens: int) -> None:
        """Wait until a call may go; raise `BudgetExceeded` or `CircuitOpen` if it may not."""
        priority: float = call.priority
        while True:
            self.check_budget()
            now = call.now()
            booking = lane.take_ahead(now, tokens)
            if booking is not None:
                if lane.low and now >= lane.next_exchange_at:
                    self.link.wake()
                if booking.at <= now:
                    return
            if await self._wait_for_turn(lane, call, Waiter(TurnRequest(tokens, booking), priority)):
                return
            priority = call.priority + _REQUEUE_BONUS

    async def _wait_for_turn(self, lane: SharedLane, call: Call, waiter: Waiter[TurnRequest]) -> bool:
        """Wait for the turn without tokens, then acquire them; return False if the turn has expired."""
        turn = waiter.wanted
        if turn.booking is None:
            lane.join(waiter)
            self.link.wake()
        else:
            waiter.served = True
        try:
            async with call.waiting():
                while not waiter.served:
                    await waiter.until_woken()
                if waiter.error is not None:
                    raise waiter.error
                assert turn.booking is not None
                if (delay := turn.booking.at - call.now()) > 0:
                    await anyio.sleep(delay)
                turn.ready_at = call.now()
        except BaseException:
            lane.leave(waiter)
            self.link.wake()
            raise
        return lane.may_go(call.now(), turn)

    def pause(self, lane: SharedLane, now: float, seconds: float) -> None:
        """Have all processes pause for ``seconds``, as the endpoint asks."""
        lane.paused_until = max(lane.paused_until, now + seconds)
        lane.pause_to_share = max(lane.pause_to_share, seconds)
        self.link.wake()

    def share_circuit(self, base_url: str, open_for: float | None) -> None:
        """Report that an endpoint's circuit is open for ``open_for`` seconds, or closed (None)."""
        self._exchanges.share_circuit(base_url, open_for)
        self.link.wake()

    def spend(self, nano_usd: int) -> None:
        """Count the cost of a call."""
        self.budget.spend(nano_usd)
        self.link.wake()

    async def wait_until_spending_is_shared(self) -> None:
        """Wait until all spending so far is reported, or Redis is unavailable, or the timeout is over."""
        spent = self.budget.spent_here
        with anyio.move_on_after(self.availability.server.timeout):
            while not self.budget.is_shared(spent) and not self.availability.away and self.link.running:
                await self.budget.wait_for_change()

    def check_budget(self) -> None:
        """Raise `BudgetExceeded` if the budget is spent."""
        error = self._rejection.over_budget()
        if error is not None:
            raise error
