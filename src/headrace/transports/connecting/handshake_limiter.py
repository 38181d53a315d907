"""The order in which TLS handshakes with one origin begin."""

from __future__ import annotations

from collections import deque

import anyio
import anyio.lowlevel

TOGETHER = 8
"""Handshakes that begin in one turn of the event loop.

Each takes a tenth of a millisecond or more to begin and as much to go on. In a burst, answers, and handshakes
that are half done, are served between those that begin. With more, these fall behind.
"""

MOST = 512
"""Handshakes under way. A server that computes for a millisecond for each keeps none waiting for a second."""


class _Turn:
    """A handshake that is to begin."""

    __slots__ = ("begun", "event", "given_up", "leads")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.begun = self.given_up = self.leads = False


class Turns:
    """Lets a few handshakes begin in each turn of the event loop, in the order in which they were asked for.

    One of those that wait leads: it lets the first ones in, itself among them, and appoints the next leader,
    who does so in the loop's next turn. Used as ``async with turns:`` around each handshake.
    """

    def __init__(self, together: int = TOGETHER, most: int = MOST) -> None:
        self._together = together
        self._most = most
        self._waiting: deque[_Turn] = deque()
        self._is_led = False
        self._under_way = 0

    async def __aenter__(self) -> None:
        turn = _Turn()
        self._waiting.append(turn)
        try:
            if self._is_led or self._under_way >= self._most:
                await turn.event.wait()
            else:
                self._is_led = turn.leads = True
                await anyio.lowlevel.checkpoint()
        except BaseException:
            turn.given_up = True
            if turn.begun:
                self._end_one()
            elif turn.leads:
                self._appoint()
            raise
        if turn.leads and not turn.begun:
            self._let_in()

    async def __aexit__(self, *_: object) -> None:
        self._end_one()

    def _end_one(self) -> None:
        self._under_way -= 1
        if not self._is_led:
            self._appoint()

    def _let_in(self) -> None:
        waiting = self._waiting
        room = min(self._together, self._most - self._under_way)
        while waiting and room:
            turn = waiting.popleft()
            if not turn.given_up:
                turn.begun = True
                turn.event.set()
                self._under_way += 1
                room -= 1
        self._appoint()

    def _appoint(self) -> None:
        """Have the first one that waits lead, where there is room for it."""
        waiting = self._waiting
        while waiting and waiting[0].given_up:
            waiting.popleft()
        self._is_led = bool(waiting) and self._under_way < self._most
        if self._is_led:
            waiting[0].leads = True
            waiting[0].event.set()
