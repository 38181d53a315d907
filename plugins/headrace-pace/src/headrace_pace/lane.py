"""The calls to one model at one endpoint: who may go now, who waits, and until when all of them pause; pure.

Who waits goes by priority, and within one in the order in which it came; nobody overtakes: a large call does
not starve among small ones. Times are in seconds on a clock that never goes back.

A *pause* begins with a 429 and holds for all. It lasts as long as the endpoint asks, or else a second, and
twice as long each time that another follows before as much time has passed. After it nothing has been saved
up: calls go at the rate that is known, or, where none is, spread over as long a time as the pause took.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import attrs

from headrace_pace.allowance import Allowance
from headrace_pace.bucket import INSTANT
from headrace_pace.headers import LONGEST, Said

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LONGEST_SPREAD = 10.0
_FIRST_GUESS = 500.0
"""Tokens of an answer, while none has come; as headrace-route has it."""
_REMEMBERED = 50
"""The mean of answers' lengths goes over about so many."""
_BYTES_A_TOKEN = 4
_MOST_OUTPUT = 10**9


@attrs.frozen
class State:
    """What may be sent at once now; None: no limit is known. Below 0 it is owed, and waited off.

    ``paused_for``: seconds until the pause that holds is over, 0 for none. ``waiting``: calls that wait.
    """

    requests: int | None = None
    tokens: int | None = None
    paused_for: float = 0.0
    waiting: int = 0


@attrs.define(eq=False)
class Ticket:
    """A call's place in the line; ``woken`` is the caller's, to be woken by."""

    tokens: int
    woken: Any = None
    priority: int = 0
    granted: bool = False


class Lane:
    """One endpoint and model, with the limits that are set for it, a minute (None: learnt from answers).

    ``sent`` and ``spent`` count the requests and tokens let through so far. ``free`` is true while there is
    nothing to wait for: no limit is known and no pause holds.
    """

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, burst: float, now: float
    ) -> None:
        self.requests = Allowance(requests_per_minute, burst, 1.0, now)
        self.tokens = Allowance(tokens_per_minute, burst, 1.0, now)
        self.line: list[Ticket] = []
        self.sent = self.spent = 0
        self._answer = _FIRST_GUESS
        self._answers = 0
        self._paused_until = float("-inf")
        self._unasked = self._spread = self._gap = 0.0
        self._next = self._spread_until = float("-inf")
        self.due = float("inf")
        self.free = self._unlimited()

    # Who may go.

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until a call of so many tokens may go if nobody is before it; 0 for at once."""
        wait = self._paused_until - now
        if self.requests.bucket is not None:
            wait = max(wait, self.requests.bucket.wait(now, 1.0))
        if self.tokens.bucket is not None:
            wait = max(wait, self.tokens.bucket.wait(now, tokens))
        if now < self._spread_until:
            wait = max(wait, self._next - now)
        return wait if wait > INSTANT else 0.0

    def go(self, now: float, tokens: int) -> None:
        """Let a call through."""
        self.sent += 1
        self.spent += tokens
        if self.requests.bucket is not None:
            self.requests.bucket.take(now, 1.0)
        if self.tokens.bucket is not None:
            self.tokens.bucket.take(now, tokens)
        if self._spread:
            # The first after a pause: it is only known now how many there are to be spread.
            if self._unlimited():
                self._gap, self._spread_until = self._spread / (len(self.line) + 1), now + self._spread
            self._spread = 0.0
        if now < self._spread_until:
            self._next = now + self._gap
        elif self._unlimited() and now >= self._paused_until:
            self.free = True

    def serve(self, now: float) -> list[Ticket]:
        """Let those through from the front of the line who may go, and say who they are."""
        granted = []
        while self.line and self.wait(now, tokens := self.line[0].tokens) == 0:
            ticket = self.line.pop(0)
            self.go(now, tokens)
            ticket.granted = True
            granted.append(ticket)
        return granted

    def leave(self, now: float, ticket: Ticket) -> None:
        """A call that waited goes away unsent: its place comes back, and what it was given."""
        if not ticket.granted:
            self.line.remove(ticket)
            return
        self.sent -= 1
        self.spent -= ticket.tokens
        if self.requests.bucket is not None:
            self.requests.bucket.take(now, -1.0)
        self.settle(now, ticket.tokens, 0)

    def first(self) -> Ticket | None:
        """Who stands at the front of the line."""
        return self.line[0] if self.line else None

    def join(self, ticket: Ticket) -> None:
        """Stand in line: behind those of as high a priority."""
        self.line.insert(self._ahead(ticket.priority), ticket)

    def _ahead(self, priority: int) -> int:
        if not self.line or self.line[-1].priority >= priority:
            return len(self.line)
        return bisect_right(self.line, -priority, key=lambda ticket: -ticket.priority)

    def turn(self, now: float, priority: int = 0) -> float:
        """Seconds that a call which comes now waits at least, if nobody before it gives up.

        By the pause and by the requests; tokens may come back, and so nobody is given up on for them.
        """
        wait = self.paused_for(now)
        if self.requests.bucket is not None:
            wait = max(wait, self.requests.bucket.until(now, self._ahead(priority) + 1.0))
        return wait

    # What calls cost.

    def estimate(self, content: bytes, most_output: int | None) -> int:
        """Tokens that a call is taken to need: its body's, and its answer's at most, or as answers are."""
        output = int(self._answer) if most_output is None else min(most_output, _MOST_OUTPUT)
        return len(content) // _BYTES_A_TOKEN + output + 1

    def settle(self, now: float, estimated: int, used: int) -> None:
        """Give back what a call was taken to need, and take what it did."""
        if self.tokens.bucket is not None:
            self.tokens.bucket.take(now, used - estimated)

    def learn_length(self, tokens: int) -> None:
        """An answer had so many tokens."""
        self._answers = min(self._answers + 1, _REMEMBERED)
        self._answer += (tokens - self._answer) / self._answers

    def hear(
        self, said: dict[str, Said], now: float, begun: float, sent: int, spent: int, tokens: int
    ) -> None:
        """Take account of the limits that an answer said.

        It is to a call that went at ``begun``, when ``sent`` and ``spent`` were as given, and was taken to
        need ``tokens``.
        """
        requests_since, tokens_since = self.sent - sent, self.spent - spent
        if "requests" in said:
            self.requests.hear(said["requests"], now, now - begun, requests_since)
        if "tokens" in said:
            if self.tokens.bucket is None:  # nobody counted so far
                tokens_since = requests_since * tokens
            self.tokens.hear(said["tokens"], now, now - begun, tokens_since)
        if not self._unlimited():
            self.free = False

    # Pauses.

    def refuse(self, now: float, begun: float, asked: float | None) -> float | None:
        """A call that went at ``begun`` got a 429 which asks for so many seconds, None: for none.

        Returns how long the pause is that begins with it, None where one holds already.
        """
        if asked is None:
            if begun < self._paused_until - INSTANT:
                return None  # sent before the pause was over, of which it is one more reason
            again = now - self._paused_until <= self._unasked
            asked = self._unasked = min(2 * self._unasked, _LONGEST_PAUSE) if again else _FIRST_PAUSE
        asked = min(asked, LONGEST)
        holds, until = now < self._paused_until, now + asked
        if until <= self._paused_until:
            return None
        self._paused_until, self._spread = until, min(asked, _LONGEST_SPREAD)
        self.free = False
        for bucket in (self.requests.bucket, self.tokens.bucket):
            if bucket is not None:
                bucket.drain(now, until)
        return None if holds else asked

    def paused_for(self, now: float) -> float:
        """Seconds until the pause is over, 0 where none holds."""
        return max(0.0, self._paused_until - now)

    def state(self, now: float) -> State:
        """What may be sent at once now."""
        requests, tokens = self.requests.bucket, self.tokens.bucket
        return State(
            None if requests is None else int(requests.level(now)),
            None if tokens is None else int(tokens.level(now)),
            self.paused_for(now),
            len(self.line),
        )

    def _unlimited(self) -> bool:
        return self.requests.bucket is None and self.tokens.bucket is None
