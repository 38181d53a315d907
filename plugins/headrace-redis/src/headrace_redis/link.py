"""What the calls of one client ask the processes that share the account, and tell them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import attrs

from headrace import Call
from headrace.plugins import BoundedMapping, TaskGroupFactory, Waiter
from headrace_redis.exchanges import Exchanges
from headrace_redis.gcra import Limits
from headrace_redis.keeper import Keeper
from headrace_redis.lane import Lane, Lanes, Turn
from headrace_redis.purse import Purse
from headrace_redis.reach import Reach
from headrace_redis.refusals import Refusals
from headrace_redis.server import Server

_AGAIN = 0.5
"""Added to the priority, a whole number, of calls that wait again: they go before others of that priority."""


class Rules(Protocol):
    """The settings that a link needs; see `headrace_redis.Account`."""

    @property
    def budget_nano(self) -> int | None: ...
    @property
    def processes(self) -> int | None: ...
    @property
    def max_pause(self) -> float: ...
    def limits_of(self, endpoint: str, model: str) -> Limits: ...


def _new_lane(rules: Rules) -> Callable[[tuple[str, str, str]], Lane]:
    def make(key: tuple[str, str, str]) -> Lane:
        base_url, endpoint, model = key
        return Lane(f"{base_url} {model}", base_url, rules.limits_of(endpoint, model))

    return make


@attrs.define(eq=False, init=False)
class Link:
    """What one client shares with all others while it is open."""

    lanes: Lanes
    purse: Purse
    reach: Reach
    keeper: Keeper
    _exchanges: Exchanges
    _refusals: Refusals

    def __init__(self, server: Server, rules: Rules) -> None:
        self.lanes = BoundedMapping(_new_lane(rules), in_use=lambda lane: bool(lane.line or lane.ahead))
        self.purse = Purse(rules.budget_nano)
        self.reach = Reach(server, rules.processes)
        self._exchanges = Exchanges(self.lanes, self.purse, self.reach)
        self._refusals = Refusals(self.purse, self.reach, rules.max_pause)
        self.keeper = Keeper(self.lanes, self.purse, self.reach, self._exchanges, self._refusals)

    @asynccontextmanager
    async def open(self, group: TaskGroupFactory) -> AsyncIterator[None]:
        """Run the keeper while the block lasts; raises `SettingsError` if Redis cannot be used.

        State of an earlier block is forgotten: it may belong to another event loop and its clock.
        """
        self.lanes.forget()
        self.reach.forget()
        await self.keeper.meet()
        (await group()).start_soon(self.keeper.run, name="headrace redis")
        try:
            yield
        finally:
            await self.keeper.finish()

    async def admit(self, lane: Lane, call: Call, tokens: int) -> None:
        """Wait until a call may go; raises `BudgetExceeded` or `CircuitOpen` if it may not."""
        priority: float = call.priority
        while True:
            self.check_budget()
            now = call.now()
            booking = lane.take(now, tokens)
            if booking is not None:
                if lane.low and now >= lane.ask_at:
                    self.keeper.wake()
                if booking.at <= now:
                    return
            if await self._wait_for_turn(lane, call, Waiter(Turn(tokens, booking), priority)):
                return
            priority = call.priority + _AGAIN

    async def _wait_for_turn(self, lane: Lane, call: Call, waiter: Waiter[Turn]) -> bool:
        """Wait without tokens until the call's turn comes; returns False if it is over when it has tokens."""
        turn = waiter.wanted
        if turn.booking is None:
            lane.join(waiter)
            self.keeper.wake()
        else:
            waiter.served = True
        try:
            async with call.waiting():
                while not waiter.served:
                    await waiter.until_woken()
                if waiter.error is not None:
                    raise waiter.error
                assert turn.booking is not None
                if (wait := turn.booking.at - call.now()) > 0:
                    await anyio.sleep(wait)
                turn.came = call.now()
        except BaseException:
            lane.leave(waiter)
            self.keeper.wake()
            raise
        return lane.may_go(call.now(), turn)

    def pause(self, lane: Lane, now: float, seconds: float) -> None:
        """Have all processes pause: the endpoint asks to stay away for so long."""
        lane.paused_until = max(lane.paused_until, now + seconds)
        lane.pause_asked = max(lane.pause_asked, seconds)
        self.keeper.wake()

    def tell_circuit(self, base_url: str, open_for: float | None) -> None:
        """Tell all others that an endpoint's circuit is open for so long, or (None) that it is closed."""
        self._exchanges.tell_circuit(base_url, open_for)
        self.keeper.wake()

    def spend(self, nano_usd: int) -> None:
        """Count what a call cost."""
        self.purse.spend(nano_usd)
        self.keeper.wake()

    async def spending_told(self) -> None:
        """Wait until all others know what was spent so far, or Redis is away, or the timeout is over."""
        spent = self.purse.spent_here
        with anyio.move_on_after(self.reach.server.timeout):
            while not self.purse.knows(spent) and not self.reach.away and self.keeper.running:
                await self.purse.news()

    def check_budget(self) -> None:
        """Raise `BudgetExceeded` if the budget is spent."""
        error = self._refusals.over_budget()
        if error is not None:
            raise error
