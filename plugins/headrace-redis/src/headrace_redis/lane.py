"""The calls of one process to one model at one endpoint: which of them wait, and what is booked.

A call that needs an exchange waits in a queue: by priority, and then first come, first served. While one
exchange is under way other calls gather, so the more calls there are, the more of them one exchange serves.
What it books goes to the calls that are first in the queue when the answer comes. If calls come fast, it also
books a few turns *ahead*, for calls that have not come yet. A turn that no call takes within `KEPT` seconds
is given back.

If there are more processes than the limit has turns in a quarter of a second, each process books one turn
behind those of all others, however far ahead that is. The lane keeps it, and hands it to the first call in
the queue when it is near.

A call that waits has given back the tokens of its client's limiter, and takes them again when its turn has
come. If that takes longer than `KEPT`, the turn is over. The call still goes if all calls that waited and
went here keep to this process's share of the limits; otherwise it joins the queue again. So old turns do not
go all at once.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import TypeAlias

import attrs

from headrace import Call, CallError
from headrace.plugins import (
    BoundedMapping,
    RateLimitDetector,
    RateLimitEvidence,
    Waiter,
    WaitingQueue,
    max_output_tokens,
)
from headrace_redis.gcra import Limits, Schedule

KEPT = 0.1
"""Seconds for which a booking waits for a call. It adds to the burst: a minute sees ``burst + KEPT`` more."""

HORIZON = 0.25
"""Seconds ahead for which turns are booked, besides one for each process: what one process books the others
do not get. A turn that is farther ahead belongs to no call yet."""

LOOK = 10.0
"""Seconds after which there is an exchange even if nothing is to be booked: it brings news of pauses, and has
this process count as a member."""

REMEMBERED = 60.0
"""Seconds for which a member remembers what it has booked, to tell a server that has forgotten it."""

MOST = 64
"""Most turns booked in one exchange: while it runs, Redis serves no other client."""

_UNKNOWN_OUTPUT = 256
"""Output tokens that a call is taken to need before the first answer has come."""

_LATEST, _QUANTILE = 20, 0.9
"""After it: this quantile of the latest answers, as in headrace-pace."""


@attrs.frozen
class Booking:
    """A turn: a call that needs so many tokens may go at ``at``, on the loop's clock."""

    at: float
    tokens: int


@attrs.frozen(kw_only=True)
class Answer:
    """What an exchange says; times in seconds.

    ``slots`` are those of the first calls that were asked for. ``epoch`` names the moment at which the server
    made the lane, ``age`` seconds ago; "" if no server was asked.
    """

    spent: int = 0
    members: int = 1
    open_for: float = 0.0
    paused_for: float = 0.0
    wait: float = 0.0
    epoch: str = ""
    age: float = 0.0
    slots: tuple[float, ...] = ()


@attrs.define(eq=False)
class Turn:
    """What a call waits for: a booking for so many tokens, and from ``came`` on its client's tokens."""

    tokens: int
    booking: Booking | None = None
    came: float = 0.0


@attrs.define(eq=False)
class Lane:
    """One process's line before one model at one endpoint; ``key`` is its name for all processes.

    ``begun`` counts the attempts. ``refusing_since`` is the number of the last one before this process found
    that nothing goes; None once a later one was accepted.
    """

    key: str
    base_url: str
    limits: Limits
    line: WaitingQueue[Turn] = attrs.field(factory=WaitingQueue)
    ahead: deque[Booking] = attrs.field(factory=deque)
    ask_at: float = 0.0
    answered_at: float = -math.inf
    epoch: str = ""
    back_requests: int = 0
    back_tokens: int = 0
    pause_asked: float = 0.0
    paused_until: float = 0.0
    by_itself: Schedule | None = None
    refusals: RateLimitDetector = attrs.field(factory=RateLimitDetector)
    begun: int = 0
    refusing_since: int | None = None
    _held: int = 0
    _free_until: float = 0.0
    _wanted_ahead: int = 0
    _booked: deque[Booking] = attrs.field(factory=deque)
    _outputs: deque[int] = attrs.field(factory=lambda: deque(maxlen=_LATEST))
    _usual_output: int = _UNKNOWN_OUTPUT
    _mean_tokens: float = 0.0
    _members: int = 1
    _went: Schedule = attrs.field(factory=lambda: Schedule(Limits()))

    def estimate(self, call: Call) -> int:
        """Tokens that a call will need: a quarter of its bytes, and its output limit or the usual output; 0
        if tokens are not limited."""
        if not self.limits.per_token:
            return 0
        output = max_output_tokens(call.request.body or {}, None)
        tokens = len(call.content) // 4 + (self._usual_output if output is None else output)
        self._mean_tokens += (tokens - self._mean_tokens) / 16
        return tokens

    def take(self, now: float, tokens: int) -> Booking | None:
        """What was booked ahead for a call that comes now; None if it has to wait in the queue."""
        if self.line or now < self.paused_until:
            return None
        if self.limits.none:
            return Booking(now, 0) if now < self._free_until else None
        self._forget(now)
        if not self.ahead or self.ahead[0].at > now + HORIZON:
            return None
        booking = self.ahead.popleft()
        self.back_tokens += booking.tokens - tokens
        return Booking(booking.at, tokens)

    @property
    def low(self) -> bool:
        """Whether less than half of what is wanted is booked ahead."""
        return len(self.ahead) * 2 < self._wanted_ahead

    def due(self, now: float) -> bool:
        """Whether an exchange has something to do."""
        return bool(self.pause_asked) or ((bool(self.line) or self.low) and now >= self.ask_at)

    def join(self, waiter: Waiter[Turn]) -> None:
        """Wait in the queue."""
        self.line.join(waiter)
        self._ask_for_less()

    def leave(self, waiter: Waiter[Turn]) -> None:
        """Take a call out of the queue; what is booked for it is given back."""
        turn = waiter.wanted
        if not waiter.served:
            self.line.leave(waiter)
            self._ask_for_less()
        elif turn.booking is not None:
            self.give_back(turn.booking)

    def may_go(self, now: float, turn: Turn) -> bool:
        """Whether a booked call goes now that it has its tokens again; if not, its booking is gone."""
        if now < self.paused_until:  # the server has moved its schedule behind the pause
            return False
        if self.limits.none:
            return True
        self._went.limits = self.limits.share(self._members)
        if now > turn.came + KEPT and self._went.slot(now, turn.tokens) > now:
            return False
        self._went.book(now, turn.tokens, math.inf)
        return True

    def next_asked(self, now: float, members: int) -> list[int]:
        """The tokens of each turn to ask for next: for the first in the queue, and to book ahead."""
        self._members = members
        forgotten = self._forget(now)
        # What was booked into a pause is gone: the server has moved its schedule behind the pause.
        while self.ahead and self.ahead[0].at < self.paused_until:
            self.ahead.popleft()
        self._serve_ahead(now)
        fair = max(0, self._fair(HORIZON, members) - len(self.ahead))
        asked = [waiter.wanted.tokens for waiter in islice(self.line, fair)]
        most = 0 if self.limits.none else self._fair(KEPT, members) - 1
        # Twice as many if most of what was booked ahead was used in time; half if it was not (`_forget`).
        if len(self.ahead) * 2 <= self._wanted_ahead and not forgotten:
            self._wanted_ahead = max(1, self._wanted_ahead * 2)
        self._wanted_ahead = min(self._wanted_ahead, most)
        more = max(0, min(self._wanted_ahead - len(self.ahead), MOST - len(asked)))
        return asked + [round(self._mean_tokens)] * more

    def answered(self, now: float, answer: Answer, asked: list[int]) -> None:
        """Hand out what was booked of what was asked for, and decide when to ask next."""
        booked = [Booking(now + slot, tokens) for slot, tokens in zip(answer.slots, asked, strict=False)]
        self.ahead.extend(booked)
        if not self.limits.none:
            self._booked.extend(booked)
        while self._booked and self._booked[0].at < now - REMEMBERED:
            self._booked.popleft()
        self._serve_ahead(now)
        if answer.paused_for:
            self.paused_until = max(self.paused_until, now + answer.paused_for)
        elif not self.pause_asked:
            self.paused_until = 0.0
        self._free_until = now + KEPT
        self._held = 0
        if len(answer.slots) < len(asked):
            self._held = asked[len(answer.slots)]
            self.ask_at = now + answer.wait + HORIZON / 8  # a little later there is room for several
        elif answer.slots:
            self.ask_at = now + max(0.0, answer.slots[-1] - HORIZON / 2)
        if self.ahead and self.ahead[0].at > now + HORIZON:
            self.ask_at = min(self.ahead[0].at - HORIZON / 2, now + LOOK)
        self._ask_for_less()

    def hand_over(self, since: float) -> None:
        """Have the next exchange book again what was booked for later than ``since``.

        The server has forgotten the lane since then. What went before it counts as the burst.
        """
        requests, tokens = self.booked_after(since)
        self.back_requests -= requests
        self.back_tokens -= tokens

    def booked_after(self, moment: float) -> tuple[int, int]:
        """Requests that were booked for later than ``moment``, and their tokens."""
        tokens = [booking.tokens for booking in self._booked if booking.at > moment]
        return len(tokens), sum(tokens)

    def unanswered(self) -> None:
        """An exchange failed: ask again as soon as possible."""
        self.ask_at = 0.0

    def give_back(self, booking: Booking) -> None:
        """Give back a booking that is not used."""
        self.back_requests += 1
        self.back_tokens += booking.tokens

    def settle(self, estimated: int, used: int, output: int | None = None) -> None:
        """Correct the estimate of a call by the tokens that it used."""
        self.back_tokens += estimated - used
        if output is not None:
            self._outputs.append(output)
            self._usual_output = sorted(self._outputs)[math.ceil(_QUANTILE * len(self._outputs)) - 1]

    def accepted(self, number: int) -> None:
        """An attempt succeeded: if it began after a pause was asked for, the endpoint serves again."""
        if self.refusing_since is not None and number > self.refusing_since:
            self.refusing_since = None

    def refused(self, number: int, begun: float, now: float, asked: float, *, per_day: bool) -> bool:
        """An attempt was refused, for ``asked`` seconds; whether all have to pause because of it.

        A first refusal may be chance. After a pause it says that the pause was too short.
        """
        evidence = self.refusals.record_rejection(number, begun, now, asked, self.begun)
        if evidence is RateLimitEvidence.DOMINANT or per_day:
            self.refusing_since = self.begun
            return True
        again = self.refusing_since is not None and number > self.refusing_since
        return again or now < self.paused_until

    def refuse(self, error: CallError) -> None:
        """Fail all calls in the queue."""
        for waiter in self.line:
            self.line.serve(waiter, error)

    def _serve_ahead(self, now: float) -> None:
        """Give what was booked ahead to the queue first: a call that comes now must not overtake it."""
        while self.ahead and self.ahead[0].at <= now + HORIZON and (waiter := self.line.first()):
            booking, turn = self.ahead.popleft(), waiter.wanted
            self.back_tokens += booking.tokens - turn.tokens
            turn.booking = Booking(booking.at, turn.tokens)
            self.line.serve(waiter)

    def _ask_for_less(self) -> None:
        """Ask at once if a smaller call is first now than the one that was told to wait."""
        first = self.line.first()
        if first is not None and first.wanted.tokens < self._held:
            self._held, self.ask_at = 0, 0.0

    def _fair(self, seconds: float, members: int) -> int:
        """This process's part of the turns in so many seconds, at least one."""
        each = self.seconds_per_call
        return max(1, min(MOST, int(seconds / each / members))) if each else MOST

    @property
    def seconds_per_call(self) -> float:
        """Seconds between two calls at the limits."""
        return max(self.limits.interval, self._mean_tokens * self.limits.per_token)

    def _forget(self, now: float) -> bool:
        """Give back what no call took in time; returns whether there was any."""
        if not self.ahead or self.ahead[0].at + KEPT >= now:
            return False
        self._wanted_ahead //= 2
        while self.ahead and self.ahead[0].at + KEPT < now:
            self.give_back(self.ahead.popleft())
        return True


Lanes: TypeAlias = BoundedMapping[tuple[str, str, str], Lane]
"""By the endpoint's URL and name, and the model's name there."""
