"""The calls of one process to one model at one endpoint: the queue and the booked turns.

A call that needs an exchange waits in a queue, by priority and then FIFO. While one exchange is in flight,
more calls join the queue, so under load one exchange serves many calls. The turns it books go to the calls
that are first in the queue when the result arrives. At a high rate of calls it also books some turns *ahead*,
for later calls. A turn that no call takes within `BOOKING_TTL` seconds is refunded.

If there are more processes than the limit has turns in a quarter of a second, each process books one turn
behind those of all others, however far ahead it is. The lane keeps it, and gives it to the first call in the
queue shortly before its time.

A waiting call has released the tokens of its client's concurrency limiter, and acquires them again when its
turn comes. If that takes longer than `BOOKING_TTL`, the turn has expired. The call is still sent if this
process stays within its share of the limits. Otherwise it queues again. So expired turns are not all used at
once.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import TypeAlias

import attrs

from headrace import Call, CallError
from headrace.plugins import BoundedMapping, RateLimitDetector, RateLimitEvidence, Waiter, WaitingQueue
from headrace_redis.gcra import GcraLimits, GcraSchedule
from headrace_redis.token_estimator import TokenEstimator
from headrace_redis.turns import HORIZON, Booking, ExchangeResult, TurnRequest

BOOKING_TTL = 0.1
"""Seconds for which a booking waits for a call. It adds to the burst."""

MAX_EXCHANGE_INTERVAL = 10.0
"""Seconds after which there is an exchange even without calls to book: it reports pauses, and counts this
process as a member."""

BOOKING_MEMORY = 60.0
"""Seconds for which a member remembers its bookings, to report them to a server that lost its data."""

MAX_BOOKINGS = 64
"""Most turns booked in one exchange: while it runs, Redis serves no other client."""


@attrs.define(eq=False)
class SharedLane:
    """The queue of one process for one model at one endpoint; ``key`` is its name in all processes.

    Attributes:
        queue: The calls that wait for a turn.
        ahead: Turns booked for later calls.
        next_exchange_at: When the next exchange is due.
        last_exchange_at: When the last exchange succeeded.
        epoch: `ExchangeResult.epoch` of the last exchange.
        refund_requests, refund_tokens: What the next exchange returns to the limits; negative to take more.
        pause_to_share: Seconds of a pause that the next exchange reports, 0 for none.
        local_schedule: The schedule of this process while Redis is unavailable.
        attempts: How many attempts have begun.
        rejecting_since: The number of the last attempt before this process found that the endpoint rejects
            all; None once a later attempt succeeded.
    """

    key: str
    base_url: str
    limits: GcraLimits
    queue: WaitingQueue[TurnRequest] = attrs.field(factory=WaitingQueue)
    ahead: deque[Booking] = attrs.field(factory=deque)
    next_exchange_at: float = 0.0
    last_exchange_at: float = -math.inf
    epoch: str = ""
    refund_requests: int = 0
    refund_tokens: int = 0
    pause_to_share: float = 0.0
    paused_until: float = 0.0
    local_schedule: GcraSchedule | None = None
    rejections: RateLimitDetector = attrs.field(factory=RateLimitDetector)
    attempts: int = 0
    rejecting_since: int | None = None
    _tokens: TokenEstimator = attrs.field(factory=TokenEstimator)
    _unbooked_tokens: int = 0
    _unlimited_until: float = 0.0
    _target_ahead: int = 0
    _booked: deque[Booking] = attrs.field(factory=deque)
    _members: int = 1
    _sent: GcraSchedule = attrs.field(factory=lambda: GcraSchedule(GcraLimits()))

    def estimate(self, call: Call) -> int:
        """Return the tokens that a call will need; 0 if tokens are not limited."""
        return self._tokens.estimate(call) if self.limits.per_token else 0

    def take_ahead(self, now: float, tokens: int) -> Booking | None:
        """Take a turn booked ahead for a new call; None if the call must queue."""
        if self.queue or now < self.paused_until:
            return None
        if self.limits.none:
            return Booking(now, 0) if now < self._unlimited_until else None
        self._expire(now)
        if not self.ahead or self.ahead[0].at > now + HORIZON:
            return None
        booking = self.ahead.popleft()
        self.refund_tokens += booking.tokens - tokens
        return Booking(booking.at, tokens)

    @property
    def low(self) -> bool:
        """Whether less than half of the wanted turns are booked ahead."""
        return len(self.ahead) * 2 < self._target_ahead

    def exchange_due(self, now: float) -> bool:
        """Return whether an exchange has something to do."""
        return bool(self.pause_to_share) or ((bool(self.queue) or self.low) and now >= self.next_exchange_at)

    def join(self, waiter: Waiter[TurnRequest]) -> None:
        """Queue a call."""
        self.queue.join(waiter)
        self._expedite_if_smaller()

    def leave(self, waiter: Waiter[TurnRequest]) -> None:
        """Remove a call from the queue, and refund what is booked for it."""
        turn = waiter.wanted
        if not waiter.served:
            self.queue.leave(waiter)
            self._expedite_if_smaller()
        elif turn.booking is not None:
            self.refund(turn.booking)

    def may_go(self, now: float, turn: TurnRequest) -> bool:
        """Return whether a booked call may go now that it holds its tokens; if not, its booking is lost."""
        if now < self.paused_until:  # the server has moved its schedule behind the pause
            return False
        if self.limits.none:
            return True
        self._sent.limits = self.limits.share(self._members)
        if now > turn.ready_at + BOOKING_TTL and self._sent.slot(now, turn.tokens) > now:
            return False
        self._sent.book(now, turn.tokens, math.inf)
        return True

    def tokens_to_book(self, now: float, members: int) -> list[int]:
        """Return the tokens of each turn to book next: for the first calls in the queue, and ahead."""
        self._members = members
        expired = self._expire(now)
        # Turns booked into a pause are lost: the server has moved its schedule behind the pause.
        while self.ahead and self.ahead[0].at < self.paused_until:
            self.ahead.popleft()
        self._serve_ahead(now)
        fair = max(0, self._fair_share(HORIZON, members) - len(self.ahead))
        tokens = [waiter.wanted.tokens for waiter in islice(self.queue, fair)]
        most = 0 if self.limits.none else self._fair_share(BOOKING_TTL, members) - 1
        # Twice as many if most turns booked ahead were used in time; half if they were not (`_expire`).
        if len(self.ahead) * 2 <= self._target_ahead and not expired:
            self._target_ahead = max(1, self._target_ahead * 2)
        self._target_ahead = min(self._target_ahead, most)
        more = max(0, min(self._target_ahead - len(self.ahead), MAX_BOOKINGS - len(tokens)))
        return tokens + [round(self._tokens.mean)] * more

    def apply(self, now: float, result: ExchangeResult, tokens: list[int]) -> None:
        """Give the booked turns to the first calls in the queue, and decide when the next exchange is due.

        Args:
            now: The current time.
            result: What the exchange returned.
            tokens: The tokens of the turns that the exchange tried to book.
        """
        booked = [Booking(now + slot, each) for slot, each in zip(result.slots, tokens, strict=False)]
        self.ahead.extend(booked)
        if not self.limits.none:
            self._booked.extend(booked)
        while self._booked and self._booked[0].at < now - BOOKING_MEMORY:
            self._booked.popleft()
        self._serve_ahead(now)
        if result.paused_for:
            self.paused_until = max(self.paused_until, now + result.paused_for)
        elif not self.pause_to_share:
            self.paused_until = 0.0
        self._unlimited_until = now + BOOKING_TTL
        self._unbooked_tokens = 0
        if len(result.slots) < len(tokens):
            self._unbooked_tokens = tokens[len(result.slots)]
            self.next_exchange_at = now + result.wait + HORIZON / 8  # a little later, several can be booked
        elif result.slots:
            self.next_exchange_at = now + max(0.0, result.slots[-1] - HORIZON / 2)
        if self.ahead and self.ahead[0].at > now + HORIZON:
            self.next_exchange_at = min(self.ahead[0].at - HORIZON / 2, now + MAX_EXCHANGE_INTERVAL)
        self._expedite_if_smaller()

    def rebook_since(self, since: float) -> None:
        """Have the next exchange repeat the bookings for later than ``since``.

        The server lost the lane at that time. Earlier calls count as the burst.
        """
        requests, tokens = self.booked_after(since)
        self.refund_requests -= requests
        self.refund_tokens -= tokens

    def booked_after(self, moment: float) -> tuple[int, int]:
        """Return how many requests were booked for later than ``moment``, and their tokens."""
        tokens = [booking.tokens for booking in self._booked if booking.at > moment]
        return len(tokens), sum(tokens)

    def exchange_failed(self) -> None:
        """Have the next exchange made as soon as possible."""
        self.next_exchange_at = 0.0

    def refund(self, booking: Booking) -> None:
        """Have the next exchange return a booking that is not used."""
        self.refund_requests += 1
        self.refund_tokens += booking.tokens

    def settle(self, estimated: int, used: int, output: int | None = None) -> None:
        """Replace the estimate of a call by the tokens that it used."""
        self.refund_tokens += estimated - used
        if output is not None:
            self._tokens.record_output(output)

    def record_success(self, number: int) -> None:
        """Record that an attempt succeeded: if it began after the rejections, the endpoint serves again."""
        if self.rejecting_since is not None and number > self.rejecting_since:
            self.rejecting_since = None

    def record_rejection(
        self, number: int, begun: float, now: float, retry_after: float, *, per_day: bool
    ) -> bool:
        """Record a 429 that asks for a wait; return whether all processes must pause.

        A first rejection may be chance. After a pause it shows that the pause was too short.
        """
        evidence = self.rejections.record_rejection(number, begun, now, retry_after, self.attempts)
        if evidence is RateLimitEvidence.DOMINANT or per_day:
            self.rejecting_since = self.attempts
            return True
        again = self.rejecting_since is not None and number > self.rejecting_since
        return again or now < self.paused_until

    def fail_waiters(self, error: CallError) -> None:
        """Fail all calls in the queue."""
        for waiter in self.queue:
            self.queue.serve(waiter, error)

    def _serve_ahead(self, now: float) -> None:
        """Give turns booked ahead to the queue first: a new call must not overtake it."""
        while self.ahead and self.ahead[0].at <= now + HORIZON and (waiter := self.queue.first()):
            booking, turn = self.ahead.popleft(), waiter.wanted
            self.refund_tokens += booking.tokens - turn.tokens
            turn.booking = Booking(booking.at, turn.tokens)
            self.queue.serve(waiter)

    def _expedite_if_smaller(self) -> None:
        """Have an exchange made at once if the first call is smaller than the one that was not booked."""
        first = self.queue.first()
        if first is not None and first.wanted.tokens < self._unbooked_tokens:
            self._unbooked_tokens, self.next_exchange_at = 0, 0.0

    def _fair_share(self, seconds: float, members: int) -> int:
        """Return this process's share of the turns in ``seconds``, at least one."""
        each = self.seconds_per_call
        return max(1, min(MAX_BOOKINGS, int(seconds / each / members))) if each else MAX_BOOKINGS

    @property
    def seconds_per_call(self) -> float:
        """Seconds between two calls at the limits."""
        return max(self.limits.interval, self._tokens.mean * self.limits.per_token)

    def _expire(self, now: float) -> bool:
        """Refund turns that no call took in time; return whether there were any."""
        if not self.ahead or self.ahead[0].at + BOOKING_TTL >= now:
            return False
        self._target_ahead //= 2
        while self.ahead and self.ahead[0].at + BOOKING_TTL < now:
            self.refund(self.ahead.popleft())
        return True


SharedLanes: TypeAlias = BoundedMapping[tuple[str, str, str], SharedLane]
"""By the endpoint's URL and name, and the model's name there."""
