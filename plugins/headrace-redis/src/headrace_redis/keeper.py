"""The *keeper*: a background task of the client that makes all its exchanges, one after the other.

Calls wait for it and never talk to Redis themselves, so a cancelled call leaves no half-read answer on the
connection. While Redis is away the keeper serves the lanes with this member's share of the limits, and tries
to connect again now and then.
"""

from __future__ import annotations

import anyio
import attrs

from headrace import CallError
from headrace_redis.exchanges import Ask, Exchanges
from headrace_redis.lane import Lanes
from headrace_redis.purse import Purse
from headrace_redis.reach import Reach
from headrace_redis.refusals import Refusals
from headrace_redis.server import is_refused_login

TRIES = 3
"""Attempts at the start, before Redis is taken to be away."""


@attrs.define(eq=False)
class Keeper:
    """Serves the lanes while its client is open."""

    _lanes: Lanes
    _purse: Purse
    _reach: Reach
    _exchanges: Exchanges
    _refusals: Refusals
    running: bool = False
    _wake: anyio.Event = attrs.field(factory=anyio.Event)

    async def meet(self) -> None:
        """Make a first exchange; raises `SettingsError` if Redis cannot be used and is needed."""
        for left in reversed(range(TRIES)):
            try:
                async with self._reach.server.connected(self._exchanges.member) as connection:
                    ask = self._exchanges.over(connection)
                    await ask(self._exchanges.nowhere, [], anyio.current_time())
                return
            except Exception as error:
                if left and not is_refused_login(error):
                    continue
                unusable = self._reach.unusable(error)
                if unusable is not None:
                    raise unusable from error
                self._lost(error)
                return

    async def finish(self) -> None:
        """Wait until all others know what there is to tell, or Redis is away, or the timeout is over."""
        self.wake()
        with anyio.move_on_after(self._reach.server.timeout):
            while self.running and not self._reach.away and not self._exchanges.all_told:
                await self._purse.news()

    def wake(self) -> None:
        """Have the keeper look for something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Serve the lanes, until cancelled."""
        self.running = True
        try:
            while True:
                if anyio.current_time() >= self._reach.retry_at:
                    await self._serve_with_redis()
                if self._reach.away:
                    await self._serve(self._exchanges.alone, until=self._reach.retry_at)
        finally:
            self.running = False
            self._purse.stir()

    async def _serve_with_redis(self) -> None:
        """Serve the lanes over a connection, until it is lost."""
        try:
            async with self._reach.server.connected(self._exchanges.member) as connection:
                ask = self._exchanges.over(connection)
                if self._reach.away:  # do not wait for a call to find out whether Redis is back
                    await ask(self._exchanges.nowhere, [], anyio.current_time())
                await self._serve(ask, until=None)
        except Exception as error:  # also what leaving the block raises after the connection was lost
            self._lost(error)

    async def _serve(self, ask: Ask, until: float | None) -> None:
        """Make one exchange after the other, until a moment comes or one fails."""
        while until is None or anyio.current_time() < until:
            self._refuse_over_budget()
            now = anyio.current_time()
            lane = self._exchanges.due(now)
            if lane is None:
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
        for lane in self._lanes.all_values():
            lane.refuse(error)

    async def _sleep(self, now: float, until: float | None) -> None:
        """Wait until there is something to do."""
        moments = [lane.ask_at for lane in self._lanes.all_values() if lane.line or lane.low]
        if until is not None:
            moments.append(until)
        self._wake = anyio.Event()
        with anyio.move_on_after(max(0.0, min(moments) - now) if moments else None):
            await self._wake.wait()
