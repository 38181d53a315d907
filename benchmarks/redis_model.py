"""A model of the Redis server behind headrace-redis, in virtual time: one thread, one exchange at a time.

It uses the plugin's own arithmetic in Python; the plugin's tests compare that with its script in Redis. An
exchange arrives half a round trip after it was sent, waits for earlier exchanges, takes ``service`` seconds,
and its result takes half a round trip. An exchange that is cancelled by its sender still takes place. No
data expires.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from headrace._support.histogram import LatencyHistogram
from headrace_redis import Account
from headrace_redis.gcra import GcraLimits, GcraSchedule
from headrace_redis.member import AccountMember
from headrace_redis.pace import SharedPace
from headrace_redis.server import MEMBER_TTL, RedisConnection, RedisServer
from headrace_redis.turns import ExchangeResult


@attrs.define(eq=False)
class RedisModel:
    """The state of the server, and its metrics.

    ``exchanges`` is the number of exchanges, and ``without_turn`` the number of those that requested turns
    and got none. ``delays`` are the waits for the server's thread, in seconds.
    """

    round_trip: float
    service: float
    exchanges: int = 0
    without_turn: int = 0
    delays: LatencyHistogram = attrs.field(factory=LatencyHistogram)
    _schedules: dict[str, GcraSchedule] = attrs.field(factory=dict)
    _members: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    _circuits: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    _spent: dict[str, int] = attrs.field(factory=dict)
    _free_at: float = 0.0

    def policy(self, account: Account) -> SharedPace:
        """The policy `redis` for one client, with this server."""
        return SharedPace(
            AccountMember(_Simulated("redis://simulated", account.prefix, account.timeout, self), account)
        )

    def turn(self, now: float) -> float:
        """The time at which the thread has finished an exchange that arrives now."""
        begins = max(now, self._free_at)
        self.delays.add(begins - now)
        self._free_at = begins + self.service
        return self._free_at

    def exchange(
        self,
        now: float,
        member: str,
        lane: str,
        base_url: str,
        limits: GcraLimits,
        tokens: list[int],
        *,
        horizon: float,
        seconds_per_call: float,
        refund: tuple[int, int],
        pause: float,
        spent: int,
        epoch: str,
    ) -> ExchangeResult:
        """The same as ``exchange.lua``, but without expiry."""
        self.exchanges += 1
        self._spent[member] = max(spent, self._spent.get(member, 0))
        self._members[member] = now
        self._members.move_to_end(member)
        while next(iter(self._members.values())) <= now - MEMBER_TTL:
            self._members.popitem(last=False)
        opener, open_until = self._circuits.get(base_url, (member, 0.0))
        schedule = self._schedules.setdefault(lane, GcraSchedule(limits))
        schedule.refund(*refund)
        if pause:
            schedule.pause(now, pause)
        slots, wait = schedule.book_all(now, tokens, horizon + len(self._members) * seconds_per_call)
        self.without_turn += bool(tokens) and not slots
        return ExchangeResult(
            spent=sum(self._spent.values()),
            members=len(self._members),
            open_for=max(0.0, open_until - now) if opener != member else 0.0,
            paused_for=max(0.0, schedule.paused_until - now),
            wait=wait,
            slots=slots,
        )

    def set_circuit(self, base_url: str, member: str, until: float) -> None:
        """Record that a circuit is open until a time."""
        self._circuits[base_url] = (member, until)


@attrs.frozen
class _Simulated(RedisServer):
    model: RedisModel

    @asynccontextmanager
    async def connected(self, member: str) -> AsyncIterator[RedisConnection]:
        """A connection, after one round trip for TCP and one for the first command."""
        await trio.sleep(2 * self.model.round_trip)
        yield _SimulatedConnection(self.model, member)


class _SimulatedConnection(RedisConnection):
    def __init__(self, model: RedisModel, member: str) -> None:
        self._model, self._member = model, member

    async def exchange(self, *arguments: Any, **keywords: Any) -> ExchangeResult:
        finished_at = await self._send()
        result = self._model.exchange(finished_at, self._member, *arguments, **keywords)
        await self._receive(finished_at)
        return result

    async def open_circuit(self, base_url: str, seconds: float) -> None:
        finished_at = await self._send()
        self._model.set_circuit(base_url, self._member, finished_at + seconds)
        await self._receive(finished_at)

    async def close_circuit(self, base_url: str) -> None:
        await self.open_circuit(base_url, 0.0)

    async def _send(self) -> float:
        await trio.sleep(self._model.round_trip / 2)
        return self._model.turn(trio.current_time())

    async def _receive(self, finished_at: float) -> None:
        await trio.sleep_until(finished_at + self._model.round_trip / 2)
