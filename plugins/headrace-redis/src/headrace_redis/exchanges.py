"""One exchange: what a member tells all others and asks for, over Redis or without it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable

import anyio
import attrs

from headrace_redis.alone import answer_alone
from headrace_redis.gcra import Limits
from headrace_redis.lane import HORIZON, Answer, Lane, Lanes
from headrace_redis.purse import Purse
from headrace_redis.reach import Reach
from headrace_redis.server import Connection

FORGOTTEN = 60.0
"""Seconds for which Redis keeps a lane at least: if it is gone earlier, the server has forgotten it."""

GRACE = 2.0
"""Seconds for which others wait longer than the process that opened a circuit, while it probes."""

Ask = Callable[[Lane, list[int], float], Awaitable[Answer]]
"""Called with a lane, the tokens of each turn to ask for, and the time."""


@attrs.define(eq=False)
class Exchanges:
    """The exchanges of one client, which is one member of those that share."""

    lanes: Lanes
    purse: Purse
    reach: Reach
    member: str = attrs.field(factory=lambda: f"{os.getpid()}-{secrets.token_hex(4)}")
    nowhere: Lane = attrs.field(factory=lambda: Lane("", "", Limits()))
    """The lane of an exchange that only tells spending or circuits."""
    _circuits: dict[str, float | None] = attrs.field(factory=dict)

    def tell_circuit(self, base_url: str, open_for: float | None) -> None:
        """Have the next exchange tell that a circuit is open for so long, or (None) is closed."""
        self._circuits[base_url] = open_for

    @property
    def all_told(self) -> bool:
        """Whether the others know of all that was spent here, and of all circuits."""
        return self.purse.all_told and not self._circuits

    def due(self, now: float) -> Lane | None:
        """The lane whose exchange is due longest; `nowhere` if only spending or circuits are to be told."""
        due = min((lane for lane in self.lanes.all_values() if lane.due(now)), key=_asked, default=None)
        return self.nowhere if due is None and not self.reach.away and not self.all_told else due

    def over(self, connection: Connection) -> Ask:
        """Exchanges with Redis."""

        async def ask(lane: Lane, asked: list[int], now: float) -> Answer:
            with anyio.fail_after(self.reach.server.timeout):
                await self._tell_circuits(connection)
                known = lane.epoch if now - lane.answered_at < FORGOTTEN else ""
                answer = await self._exchange(connection, lane, asked, known)
                if known and answer.epoch != known and not lane.limits.none:
                    # The others do the same, each with its next exchange.
                    now = anyio.current_time()
                    lane.hand_over(now - answer.age)
                    lane.pause_asked = max(lane.pause_asked, lane.paused_until - now, 0.0)
                    answer = await self._exchange(connection, lane, asked, answer.epoch)
            return answer

        return ask

    async def _exchange(self, connection: Connection, lane: Lane, asked: list[int], known: str) -> Answer:
        pause, lane.pause_asked = lane.pause_asked, 0.0
        back, lane.back_requests, lane.back_tokens = (lane.back_requests, lane.back_tokens), 0, 0
        spent = self.purse.spent_here
        try:
            answer = await connection.exchange(
                lane.key,
                lane.base_url,
                lane.limits,
                asked,
                horizon=HORIZON,
                seconds_per_call=lane.seconds_per_call,
                back=back,
                pause=pause,
                spent=spent,
                epoch=known,
            )
        except BaseException:
            # A pause told twice does no harm. Turns given back twice would raise the limit.
            lane.pause_asked = max(lane.pause_asked, pause)
            raise
        self._succeeded(lane, answer, spent)
        return answer

    async def alone(self, lane: Lane, asked: list[int], now: float) -> Answer:
        """Stand in for an exchange while Redis is away, with this member's share."""
        return answer_alone(lane, asked, now, self.reach.sharers)

    async def _tell_circuits(self, connection: Connection) -> None:
        while self._circuits:
            base_url, open_for = next(iter(self._circuits.items()))
            if open_for is None:
                await connection.close_circuit(base_url)
            else:
                await connection.open_circuit(base_url, open_for + GRACE)
            if self._circuits.get(base_url) == open_for:
                del self._circuits[base_url]

    def _succeeded(self, lane: Lane, answer: Answer, spent: int) -> None:
        now = anyio.current_time()
        back = self.reach.found(answer.members, now)
        self.purse.told(spent, answer.spent)
        lane.answered_at, lane.epoch = now, answer.epoch
        if back:
            for each in self.lanes.all_values():
                each.by_itself = None
                each.ask_at = 0.0


def _asked(lane: Lane) -> float:
    return lane.ask_at
