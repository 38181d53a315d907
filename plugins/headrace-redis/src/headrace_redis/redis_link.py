"""The link to Redis: a background task of the client that makes all its exchanges, one after the other.

Calls wait for this task and never talk to Redis themselves, so a cancelled call leaves no half-read response
on the connection. While Redis is unavailable, the task serves the lanes with this member's share of the
limits, and tries from time to time to connect again.
"""

from __future__ import annotations

import anyio
import attrs

from headrace import CallError
from headrace_redis.availability import RedisAvailability
from headrace_redis.exchanges import Exchange, Exchanges
from headrace_redis.rejection import RejectionRules
from headrace_redis.server import is_rejected_login
from headrace_redis.shared_budget import SharedBudget
from headrace_redis.shared_lane import SharedLanes

CONNECT_ATTEMPTS = 3
"""Attempts at the start before Redis counts as unavailable."""


@attrs.define(eq=False)
class RedisLink:
    """Serves the lanes while its client is open."""

    _lanes: SharedLanes
    _budget: SharedBudget
    _availability: RedisAvailability
    _exchanges: Exchanges
    _rejection: RejectionRules
    running: bool = False
    _wake: anyio.Event = attrs.field(factory=anyio.Event)

    async def connect(self) -> None:
        """Make a first exchange; raise `SettingsError` if Redis is needed and cannot be used."""
        for left in reversed(range(CONNECT_ATTEMPTS)):
            try:
                async with self._availability.server.connected(self._exchanges.member_id) as connection:
                    exchange = self._exchanges.over(connection)
                    await exchange(self._exchanges.no_lane, [], anyio.current_time())
                return
            except Exception as error:
                if left and not is_rejected_login(error):
                    continue
                startup_error = self._availability.startup_error(error)
                if startup_error is not None:
                    raise startup_error from error
                self._record_failure(error)
                return

    async def flush(self) -> None:
        """Wait until everything has been reported, or Redis is unavailable, or the timeout is over."""
        self.wake()
        with anyio.move_on_after(self._availability.server.timeout):
            while self.running and not self._availability.away and not self._exchanges.all_shared:
                await self._budget.wait_for_change()

    def wake(self) -> None:
        """Have the task look for something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Serve the lanes, until cancelled."""
        self.running = True
        try:
            while True:
                if anyio.current_time() >= self._availability.retry_at:
                    await self._serve_with_redis()
                if self._availability.away:
                    await self._serve(self._exchanges.without_redis, until=self._availability.retry_at)
        finally:
            self.running = False
            self._budget.notify_waiters()

    async def _serve_with_redis(self) -> None:
        """Serve the lanes over a connection, until it is lost."""
        try:
            async with self._availability.server.connected(self._exchanges.member_id) as connection:
                exchange = self._exchanges.over(connection)
                if self._availability.away:  # find out whether Redis is back without waiting for a call
                    await exchange(self._exchanges.no_lane, [], anyio.current_time())
                await self._serve(exchange, until=None)
        except Exception as error:  # also what leaving the block raises after the connection was lost
            self._record_failure(error)

    async def _serve(self, exchange: Exchange, until: float | None) -> None:
        """Make one exchange after the other, until ``until`` or until one fails."""
        while until is None or anyio.current_time() < until:
            self._fail_over_budget()
            now = anyio.current_time()
            lane = self._exchanges.due_lane(now)
            if lane is None:
                await self._idle(now, until)
                continue
            tokens = lane.tokens_to_book(now, self._availability.sharers)
            try:
                result = await exchange(lane, tokens, anyio.current_time())
            except Exception as error:
                lane.exchange_failed()
                self._record_failure(error)
                return
            except BaseException:
                lane.exchange_failed()
                raise
            rejection = self._rejection.after(lane, result)
            if rejection is not None:
                lane.fail_waiters(rejection)
            lane.apply(anyio.current_time(), result, [] if rejection else tokens)

    def _record_failure(self, error: Exception) -> None:
        """Note that an exchange failed."""
        if self._availability.record_failure(error, anyio.current_time()):
            self._budget.notify_waiters()

    def _fail_over_budget(self) -> None:
        """Fail all waiting calls if the budget is spent."""
        error = self._rejection.over_budget()
        if error is not None:
            self._fail_all(error)

    def _fail_all(self, error: CallError) -> None:
        for lane in self._lanes.all_values():
            lane.fail_waiters(error)

    async def _idle(self, now: float, until: float | None) -> None:
        """Wait until there is something to do."""
        times = [lane.next_exchange_at for lane in self._lanes.all_values() if lane.queue or lane.low]
        if until is not None:
            times.append(until)
        self._wake = anyio.Event()
        with anyio.move_on_after(max(0.0, min(times) - now) if times else None):
            await self._wake.wait()
