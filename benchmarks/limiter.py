"""The server behind headrace-redis as a model, in virtual time: one thread, one exchange after the other.

What an exchange decides is the plugin's own arithmetic in Python, which its tests compare with its script in
Redis. An exchange comes half a round trip after it was sent, waits until those before it are over, takes
``service`` seconds, and its answer is half a round trip on the way. Who gives up has had its exchange all the
same. Nothing is ever forgotten.
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
class Limiter:
    """What the server keeps, and counts: ``exchanges``, ``in_vain`` those of them that got no turn where one
    was asked for, and how long each waited for the thread (``delays``, seconds).
    """

    round_trip: float
    service: float
    exchanges: int = 0
    in_vain: int = 0
    delays: LatencyHistogram = attrs.field(factory=LatencyHistogram)
    _schedules: dict[str, GcraSchedule] = attrs.field(factory=dict)
    _members: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    _circuits: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    _spent: dict[str, int] = attrs.field(factory=dict)
    _free_at: float = 0.0

    def policy(self, account: Account) -> SharedPace:
        """The policy `redis` for one client, over this server."""
        return SharedPace(
            AccountMember(_Simulated("redis://simulated", account.prefix, account.timeout, self), account)
        )

    def turn(self, now: float) -> float:
        """When the thread has done what comes now."""
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
        """What ``exchange.lua`` does, where no lane is ever forgotten."""
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
        self.in_vain += bool(tokens) and not slots
        return ExchangeResult(
            spent=sum(self._spent.values()),
            members=len(self._members),
            open_for=max(0.0, open_until - now) if opener != member else 0.0,
            paused_for=max(0.0, schedule.paused_until - now),
            wait=wait,
            slots=slots,
        )

    def set_circuit(self, base_url: str, member: str, until: float) -> None:
        """A circuit is open until then."""
        self._circuits[base_url] = (member, until)


@attrs.frozen
class _Simulated(RedisServer):
    limiter: Limiter

    @asynccontextmanager
    async def connected(self, member: str) -> AsyncIterator[RedisConnection]:
        """A connection, after one round trip for itself and one for the greeting."""
        await trio.sleep(2 * self.limiter.round_trip)
        yield _SimulatedConnection(self.limiter, member)


class _SimulatedConnection(RedisConnection):
    def __init__(self, limiter: Limiter, member: str) -> None:
        self._limiter, self._member = limiter, member

    async def exchange(self, *about: Any, **told: Any) -> ExchangeResult:
        done = await self._way_there()
        answer = self._limiter.exchange(done, self._member, *about, **told)
        await self._way_back(done)
        return answer

    async def open_circuit(self, base_url: str, seconds: float) -> None:
        done = await self._way_there()
        self._limiter.set_circuit(base_url, self._member, done + seconds)
        await self._way_back(done)

    async def close_circuit(self, base_url: str) -> None:
        await self.open_circuit(base_url, 0.0)

    async def _way_there(self) -> float:
        await trio.sleep(self._limiter.round_trip / 2)
        return self._limiter.turn(trio.current_time())

    async def _way_back(self, done: float) -> None:
        await trio.sleep_until(done + self._limiter.round_trip / 2)
