"""One exchange: a member reports to the others and books turns, with Redis or without it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable

import anyio
import attrs

from headrace_redis.availability import RedisAvailability
from headrace_redis.gcra import GcraLimits
from headrace_redis.local_fallback import local_fallback
from headrace_redis.server import RedisConnection
from headrace_redis.shared_budget import SharedBudget
from headrace_redis.shared_lane import SharedLane, SharedLanes
from headrace_redis.turns import HORIZON, ExchangeResult

MIN_LANE_TTL = 60.0
"""Seconds for which Redis keeps a lane at least: if it is gone earlier, the server has lost its data."""

PROBE_GRACE = 2.0
"""Seconds for which other processes wait longer than the one that opened a circuit, while it probes."""

Exchange = Callable[[SharedLane, list[int], float], Awaitable[ExchangeResult]]
"""Called with a lane, the tokens of each turn to book, and the current time."""


@attrs.define(eq=False)
class Exchanges:
    """The exchanges of one client, which is one member of those that share an account."""

    lanes: SharedLanes
    budget: SharedBudget
    availability: RedisAvailability
    member_id: str = attrs.field(factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    no_lane: SharedLane = attrs.field(factory=lambda: SharedLane("", "", GcraLimits()))
    """The lane of an exchange that only reports spending or circuits."""
    _circuits: dict[str, float | None] = attrs.field(factory=dict)

    def share_circuit(self, base_url: str, open_for: float | None) -> None:
        """Have the next exchange report that a circuit is open for ``open_for`` seconds, None for closed."""
        self._circuits[base_url] = open_for

    @property
    def all_shared(self) -> bool:
        """Whether all spending and all circuits of this member have been reported."""
        return self.budget.all_shared and not self._circuits

    def due_lane(self, now: float) -> SharedLane | None:
        """Return the lane whose exchange is most overdue; `no_lane` if only spending or circuits are due."""
        due = (lane for lane in self.lanes.all_values() if lane.exchange_due(now))
        lane = min(due, key=_next_exchange_at, default=None)
        return self.no_lane if lane is None and not self.availability.away and not self.all_shared else lane

    def over(self, connection: RedisConnection) -> Exchange:
        """Return a function that makes exchanges with Redis."""

        async def exchange(lane: SharedLane, tokens: list[int], now: float) -> ExchangeResult:
            with anyio.fail_after(self.availability.server.timeout):
                await self._share_circuits(connection)
                known = lane.epoch if now - lane.last_exchange_at < MIN_LANE_TTL else ""
                result = await self._exchange(connection, lane, tokens, known)
                if known and result.epoch != known and not lane.limits.none:
                    # The server has lost the lane. The others report their bookings with their next
                    # exchanges.
                    now = anyio.current_time()
                    lane.rebook_since(now - result.age)
                    lane.pause_to_share = max(lane.pause_to_share, lane.paused_until - now, 0.0)
                    result = await self._exchange(connection, lane, tokens, result.epoch)
            return result

        return exchange

    async def _exchange(
        self, connection: RedisConnection, lane: SharedLane, tokens: list[int], known: str
    ) -> ExchangeResult:
        """Make one exchange; ``known`` is the epoch of the lane that this member knows."""
        pause, lane.pause_to_share = lane.pause_to_share, 0.0
        refund, lane.refund_requests, lane.refund_tokens = (lane.refund_requests, lane.refund_tokens), 0, 0
        spent = self.budget.spent_here
        try:
            result = await connection.exchange(
                lane.key,
                lane.base_url,
                lane.limits,
                tokens,
                horizon=HORIZON,
                seconds_per_call=lane.seconds_per_call,
                refund=refund,
                pause=pause,
                spent=spent,
                epoch=known,
            )
        except BaseException:
            # Reporting a pause twice does no harm. Refunding turns twice would raise the limit.
            lane.pause_to_share = max(lane.pause_to_share, pause)
            raise
        self._succeeded(lane, result, spent)
        return result

    async def without_redis(self, lane: SharedLane, tokens: list[int], now: float) -> ExchangeResult:
        """Replace an exchange while Redis is unavailable, with this member's share of the limits."""
        return local_fallback(lane, tokens, now, self.availability.sharers)

    async def _share_circuits(self, connection: RedisConnection) -> None:
        """Report circuits that opened or closed."""
        while self._circuits:
            base_url, open_for = next(iter(self._circuits.items()))
            if open_for is None:
                await connection.close_circuit(base_url)
            else:
                await connection.open_circuit(base_url, open_for + PROBE_GRACE)
            if self._circuits.get(base_url) == open_for:
                del self._circuits[base_url]

    def _succeeded(self, lane: SharedLane, result: ExchangeResult, spent: int) -> None:
        """Note the result of an exchange with Redis."""
        now = anyio.current_time()
        is_back = self.availability.record_success(result.members, now)
        self.budget.update(spent, result.spent)
        lane.last_exchange_at, lane.epoch = now, result.epoch
        if is_back:
            for each in self.lanes.all_values():
                each.local_schedule = None
                each.next_exchange_at = 0.0


def _next_exchange_at(lane: SharedLane) -> float:
    return lane.next_exchange_at
