"""The *keeper*: one task that makes all exchanges of a client, one after the other.

Calls wait for it and never talk to Redis themselves, so a call that is cancelled leaves no half answer on the
connection. While Redis is away the keeper serves the lanes by itself, with this member's share, and tries
again now and then.
"""

from __future__ import annotations

import logging

import anyio
import attrs

from headrace import CallError, PolicyError
from headrace_redis import background
from headrace_redis.exchanges import Ask, Exchanges
from headrace_redis.lane import Lane
from headrace_redis.purse import Purse
from headrace_redis.reach import Reach
from headrace_redis.refusals import Refusals

_log = logging.getLogger("headrace.redis")

LINGER = 1.0
"""Seconds after the last call, after which the connection is given up."""


@attrs.define(eq=False)
class Keeper:
    """Serves the lanes while there are calls; of the event loop in which they are made."""

    _lanes: dict[tuple[str, str], Lane]
    _purse: Purse
    _reach: Reach
    _exchanges: Exchanges
    _refusals: Refusals
    running: bool = False
    _calls: int = 0
    _task: object = None
    _wake: anyio.Event = attrs.field(factory=anyio.Event)
    _idle_since: float | None = None

    def enter(self) -> None:
        """A call begins: there is a keeper while there are calls."""
        self._calls += 1
        if not self.running:
            self.running = True
            self._task = background.spawn(self._run, "headrace redis")

    def leave(self) -> None:
        """A call is over."""
        self._calls -= 1
        if not self._calls:
            self._wake.set()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def _run(self) -> None:
        try:
            while not self._forsaken():
                if anyio.current_time() >= self._reach.retry_at:
                    await self._serve_with_redis()
                if self._reach.away:
                    await self._serve(self._exchanges.alone, until=self._reach.retry_at)
        except Exception as error:
            _log.exception("headrace-redis has failed")
            self._refuse_all(PolicyError(f"policy 'redis' raised {type(error).__name__}: {error}"))
        finally:
            self.running = False
            self._purse.stir()

    async def _serve_with_redis(self) -> None:
        """Serve the lanes over a connection, until nobody needs it or it is lost."""
        try:
            async with self._reach.server.connected(self._exchanges.member) as connection:
                ask = self._exchanges.over(connection)
                if self._reach.away:  # see whether it is back, and do not wait for a call to find out
                    await ask(self._exchanges.nowhere, [], anyio.current_time())
                await self._serve(ask, until=None)
        except Exception as error:  # an answer that was lost meanwhile, on leaving the block
            self._lost(error)

    async def _serve(self, ask: Ask, until: float | None) -> None:
        """Make one exchange after the other: until a moment, until one fails, or until nobody needs any."""
        while until is None or anyio.current_time() < until:
            self._refuse_over_budget()
            now = anyio.current_time()
            lane = self._exchanges.due(now)
            if lane is None:
                if self._forsaken():
                    return
                await self._sleep(now, until)
                continue
            asked = lane.next_asked(now, self._reach.sharers)
            try:
                answer = await ask(lane, asked, anyio.current_time())
            except Exception as error:
                lane.unanswered()
                self._lost(error)
                return
            except BaseException:
                lane.unanswered()
                raise
            refusal = self._refusals.after(lane, answer)
            if refusal is not None:
                lane.refuse(refusal)
            lane.answered(anyio.current_time(), answer, [] if refusal else asked)

    def _lost(self, error: Exception) -> None:
        if self._reach.lost(error, anyio.current_time()):
            self._purse.stir()

    def _refuse_over_budget(self) -> None:
        error = self._refusals.over_budget()
        if error is not None:
            self._refuse_all(error)

    def _refuse_all(self, error: CallError) -> None:
        for lane in self._lanes.values():
            lane.refuse(error)

    def _forsaken(self) -> bool:
        """Whether there have been no calls for so long that the connection is given up."""
        if self._calls or not (self._reach.away or self._exchanges.all_told):
            self._idle_since = None
            return False
        now = anyio.current_time()
        if self._idle_since is None:
            self._idle_since = now
        return now >= self._idle_since + LINGER

    async def _sleep(self, now: float, until: float | None) -> None:
        """Until there is something to do; without calls, no longer than `LINGER`."""
        moments = [lane.ask_at for lane in self._lanes.values() if lane.line or lane.low]
        if until is not None:
            moments.append(until)
        if self._idle_since is not None:
            moments.append(self._idle_since + LINGER)
        self._wake = anyio.Event()
        with anyio.move_on_after(max(0.0, min(moments) - now) if moments else None):
            await self._wake.wait()
