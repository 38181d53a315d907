"""One client's link with all others that use the account: what it knows of them, and who talks to Redis.

One task, the *keeper*, makes all exchanges, one after the other; calls wait for it and never talk to Redis
themselves, so a call that is cancelled leaves no half answer on the connection. While Redis is away the
keeper serves the lanes by itself, with this member's share, and tries again now and then.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import attrs

from headrace import BudgetExceeded, Call, CallError, CircuitOpen, PolicyError
from headrace_redis import keeper
from headrace_redis.alone import answer_alone
from headrace_redis.gcra import Limits
from headrace_redis.lane import HORIZON, Answer, Booking, Lane, Waiter
from headrace_redis.purse import Purse
from headrace_redis.server import Connection, Server

_log = logging.getLogger("headrace.redis")

LINGER = 1.0
"""Seconds after the last call, after which the connection is given up."""

RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds until Redis is tried again, after so many failures in a row; the last one for ever."""

FORGOTTEN = 60.0
"""Seconds for which Redis keeps a lane at least; one that is gone before that went with a restart."""

GRACE = 2.0
"""Seconds that others leave to whoever opened a circuit, to probe it and say that it is closed."""


class Rules(Protocol):
    """What a link is told by settings; see `headrace_redis.Account`."""

    @property
    def budget_nano(self) -> int | None: ...
    @property
    def processes(self) -> int | None: ...
    @property
    def max_pause(self) -> float: ...
    def limits_of(self, endpoint: str, model: str) -> Limits: ...


Ask = Callable[[Lane, list[int], float], Awaitable[Answer]]


@attrs.define(eq=False)
class Link:
    """What one client shares; of the event loop in which its calls are made."""

    server: Server
    rules: Rules
    lanes: dict[tuple[str, str], Lane] = attrs.field(factory=dict)
    users: int = 0
    untold: str | None = None
    purse: Purse = attrs.field(init=False)
    _member: str = attrs.field(factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    _task: object = None
    _running: bool = False
    _away: bool = False
    _members: int = 1
    _failures: int = 0
    _retry_at: float = 0.0
    _circuits: dict[str, float | None] = attrs.field(factory=dict)
    _wake: anyio.Event = attrs.field(factory=anyio.Event)
    _idle_since: float | None = None
    _nowhere: Lane = attrs.field(factory=lambda: Lane("", "", Limits()))
    """What an exchange is about that has only spending or circuits to tell."""
    _now: Callable[[], float] = anyio.current_time

    def __attrs_post_init__(self) -> None:
        self.purse = Purse(self.rules.budget_nano)

    # What calls ask for.

    def enter(self) -> None:
        """A call begins: there is a keeper while there are calls."""
        self.users += 1
        if not self._running:
            self._running = True
            self._task = keeper.spawn(self._run, "headrace redis")

    def leave(self) -> None:
        """A call is over."""
        self.users -= 1
        if not self.users:
            self._wake.set()

    async def admit(self, lane: Lane, call: Call, tokens: int) -> Booking:
        """Wait until a call may go; raises `BudgetExceeded` or `CircuitOpen` where it may not."""
        while True:
            self.check_budget()
            now = call.now()
            booking = lane.take(now, tokens)
            if booking is None:
                booking = await self._stand_in_line(lane, tokens)
            elif lane.low and now >= lane.ask_at:
                self._wake.set()
            if (wait := booking.at - call.now()) > 0:
                try:
                    await anyio.sleep(wait)
                except BaseException:
                    lane.give_back(booking)
                    raise
            if call.now() >= lane.paused_until:
                return booking
            lane.give_back(booking)  # a pause has begun meanwhile

    async def _stand_in_line(self, lane: Lane, tokens: int) -> Booking:
        waiter = Waiter(tokens)
        lane.line.append(waiter)
        self._wake.set()
        try:
            await waiter.decided.wait()
        except BaseException:
            waiter.gone = True
            if waiter.booking is not None:
                lane.give_back(waiter.booking)
            elif waiter in lane.line:
                lane.line.remove(waiter)
            raise
        if waiter.booking is None:
            raise waiter.error or AssertionError("decided, but not what")
        return waiter.booking

    def pause(self, lane: Lane, now: float, seconds: float) -> None:
        """The endpoint asks to stay away for so long: have all do so."""
        lane.paused_until = max(lane.paused_until, now + seconds)
        lane.pause_asked = max(lane.pause_asked, seconds)
        self._wake.set()

    def tell_circuit(self, base_url: str, open_for: float | None) -> None:
        """Have all others know that an endpoint's circuit is open for so long, or (None) is closed."""
        self._circuits[base_url] = open_for
        self._wake.set()

    def spend(self, nano_usd: int) -> None:
        """Count what a call did cost."""
        self.purse.spend(nano_usd)
        self._wake.set()

    async def spending_told(self) -> None:
        """Wait until all that was spent so far is counted where all can see it, or cannot be now."""
        spent = self.purse.spent_here
        with anyio.move_on_after(self.server.timeout):
            while not self.purse.knows(spent) and not self._away and self._running:
                await self.purse.news()

    def check_budget(self) -> None:
        """Raise `BudgetExceeded` where the budget is spent."""
        error = self._over_budget()
        if error is not None:
            raise error

    def _over_budget(self) -> BudgetExceeded | None:
        return self.purse.exceeded(self._away, self._sharers)

    @property
    def _sharers(self) -> int:
        return self.rules.processes or self._members

    # The keeper.

    async def _run(self) -> None:
        try:
            while not self._forsaken():
                if self._now() >= self._retry_at:
                    try:
                        async with self.server.connected(self._member) as connection:
                            await self._serve_with(connection)
                    except Exception as error:  # an answer that was lost meanwhile, on leaving the block
                        self._lost(error)
                if self._away:
                    await self._serve(self._alone, until=self._retry_at)
        except Exception as error:
            _log.exception("headrace-redis has failed")
            for lane in self.lanes.values():
                lane.refuse(PolicyError(f"policy 'redis' raised {type(error).__name__}: {error}"))
        finally:
            self._running = False
            self.purse.stir()

    async def _serve_with(self, connection: Connection) -> None:
        """Serve the lanes over a connection, until nobody needs it or it is lost."""

        async def ask(lane: Lane, asked: list[int], now: float) -> Answer:
            pause, lane.pause_asked = lane.pause_asked, 0.0
            back, lane.back_requests, lane.back_tokens = (lane.back_requests, lane.back_tokens), 0, 0
            spent = self.purse.spent_here
            try:
                with anyio.fail_after(self.server.timeout):
                    await self._tell_circuits(connection)
                    answer = await connection.exchange(
                        lane.key,
                        lane.base_url,
                        lane.limits,
                        asked,
                        horizon=HORIZON,
                        back=back,
                        pause=pause,
                        spent=spent,
                        known=now - lane.answered_at < FORGOTTEN,
                    )
            except BaseException:
                lane.pause_asked = max(lane.pause_asked, pause)
                raise
            self._found(lane, answer, spent)
            return answer

        if self._away:  # see whether it is back, and do not wait for a call to find out
            await ask(self._nowhere, [], self._now())
        await self._serve(ask, until=None)

    async def _tell_circuits(self, connection: Connection) -> None:
        while self._circuits:
            base_url, open_for = next(iter(self._circuits.items()))
            if open_for is None:
                await connection.close_circuit(base_url)
            else:
                await connection.open_circuit(base_url, open_for + GRACE)
            if self._circuits.get(base_url) == open_for:
                del self._circuits[base_url]

    async def _alone(self, lane: Lane, asked: list[int], now: float) -> Answer:
        return answer_alone(lane, asked, now, self._sharers)

    async def _serve(self, ask: Ask, until: float | None) -> None:
        """Make one exchange after the other: until a moment, until one fails, or until nobody needs any."""
        while until is None or self._now() < until:
            self._refuse_over_budget()
            now = self._now()
            lane = self._due(now)
            if lane is None:
                if self._forsaken():
                    return
                await self._sleep(now, until)
                continue
            waiters, asked = lane.next_asked(now, self._sharers)
            begun = self._now()
            try:
                answer = await ask(lane, asked, begun)
            except Exception as error:
                lane.put_back(waiters)
                self._lost(error)
                return
            except BaseException:
                lane.put_back(waiters)
                raise
            refusal = self._refusal(lane, answer)
            if refusal is not None:
                for waiter in waiters:
                    waiter.fail(refusal)
                lane.refuse(refusal)
            lane.answered(self._now(), answer, [] if refusal else waiters, [] if refusal else asked)

    def _refusal(self, lane: Lane, answer: Answer) -> CallError | None:
        """Why no call is to wait for its turn there, None where it is."""
        over = self._over_budget()
        if over is not None:
            return over
        if answer.open_for:
            return CircuitOpen(
                f"not sent: another process has found {lane.base_url} failing, and its circuit is open for "
                f"another {answer.open_for:.1f} s",
                answer.open_for,
            )
        if answer.paused_for > self.rules.max_pause:
            return CircuitOpen(
                f"not sent: {lane.base_url} asks to stay away; come back in {answer.paused_for:.0f} s",
                answer.paused_for,
            )
        return None

    def _refuse_over_budget(self) -> None:
        error = self._over_budget()
        if error is not None:
            for lane in self.lanes.values():
                lane.refuse(error)

    def _due(self, now: float) -> Lane | None:
        """The lane that has waited longest for its exchange; the one that is nowhere for spending alone."""
        due = min((lane for lane in self.lanes.values() if lane.due(now)), key=_asked, default=None)
        return self._nowhere if due is None and not self._away and not self._nothing_to_tell() else due

    def _nothing_to_tell(self) -> bool:
        return self.purse.all_told and not self._circuits

    def _forsaken(self) -> bool:
        """Whether there have been no calls for so long that the connection is given up."""
        if self.users or not (self._away or self._nothing_to_tell()):
            self._idle_since = None
            return False
        now = self._now()
        if self._idle_since is None:
            self._idle_since = now
        return now >= self._idle_since + LINGER

    async def _sleep(self, now: float, until: float | None) -> None:
        """Until there is something to do; without calls, no longer than `LINGER`."""
        moments = [lane.ask_at for lane in self.lanes.values() if lane.line or lane.low]
        if until is not None:
            moments.append(until)
        if self._idle_since is not None:
            moments.append(self._idle_since + LINGER)
        self._wake = anyio.Event()
        with anyio.move_on_after(max(0.0, min(moments) - now) if moments else None):
            await self._wake.wait()

    def _found(self, lane: Lane, answer: Answer, spent: int) -> None:
        """An exchange has succeeded."""
        self._members = max(1, answer.members)
        self.purse.told(spent, answer.spent)
        lane.answered_at = self._now()
        self._failures = 0
        if self._away:
            self._away = False
            self.untold = "back"
            _log.info("Redis at %s is back; limits are shared again", self.server)
            for each in self.lanes.values():
                each.by_itself = None
                each.ask_at = 0.0

    def _lost(self, error: BaseException) -> None:
        self._retry_at = self._now() + RETRIES[min(self._failures, len(RETRIES) - 1)]
        self._failures += 1
        if not self._away:
            self._away = True
            self.purse.stir()
            self.untold = "away"
            said = self.server.blotted(f"{type(error).__name__}: {error}")
            share = f"1/{self._sharers}" if self._sharers > 1 else "the whole"
            _log.warning(
                "Redis at %s is away (%s); until it is back this process goes on by itself, with %s of the "
                "limits",
                self.server,
                said,
                share,
            )


def _asked(lane: Lane) -> float:
    return lane.ask_at
