"""The rate limiter of one model at one endpoint: which calls may go now, which wait, and what limits them.

No I/O. Times are in seconds on a clock that never goes back.

Waiting calls are served by priority, and in order of arrival among equals. No call overtakes another: a large
call does not starve among small ones.

A waiting call has released the tokens of its client's concurrency limiter. So its turn comes in two steps.
When the limits allow the call, it leaves the queue and books its turn: what it needs is reserved, so less is
left for later calls. Then it acquires its tokens again, which may take long. When it holds them, it releases
the booking, and is sent if the limits still allow it (`RateLimiter.delay`). Otherwise it queues again, before
the calls that have had no turn. So a call counts when it is sent, and old turns are not all used at once.

Three things limit calls: the buckets of limits that are set or reported by responses; a rate learnt from
rejections (`headrace_pace.learnt_rate`); and a pause. `headrace.plugins.RateLimitDetector` decides which
rejections come from a limit.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.plugins import PerMinute, RateLimitDetector, RateLimitEvidence, Waiter, WaitingQueue
from headrace_pace.call_demand import Admission, AnswerLengths, CallDemand
from headrace_pace.learnt_rate import LearntRate
from headrace_pace.limit_tracker import LimitTracker
from headrace_pace.pace_state import PaceState
from headrace_pace.pause import MAX_STEP, Pause
from headrace_pace.rate_limit_headers import KINDS, RateLimitInfo
from headrace_pace.token_bucket import EPSILON, TokenBucket


class RateLimiter:
    """Limits the calls to one model at one endpoint.

    Args:
        limits: The limits per minute that are set.
        burst: Burst size, as seconds' worth of a limit that is set.
        now: The current time.

    Attributes:
        queue: The calls that wait for their turn.
        pending: How many calls wait for their turn or have booked it.
        sent: Attempts admitted so far.
        rejected: Attempts that got a 429.
        taken: The sum of the estimates of admitted calls, if tokens are counted.
        next_turn_at: When the turn of the first waiting call comes, as it last computed.
        needs_results: Whether `record_result` must be called for each attempt.
        counts_tokens: Whether tokens are limited.
        unlimited: Whether calls need not wait: no limit is known and no pause holds.
    """

    def __init__(self, limits: PerMinute, burst: float, now: float) -> None:
        self.rejections: RateLimitDetector = RateLimitDetector()
        self.learnt_rate: LearntRate = LearntRate(now)
        self.pause: Pause = Pause()
        self.answer_lengths: AnswerLengths = AnswerLengths()
        self.queue: WaitingQueue[CallDemand] = WaitingQueue()
        self.pending: int = 0
        self.sent: int = 0
        self.rejected: int = 0
        self.taken: CallDemand = CallDemand(0.0)
        self.next_turn_at: float = float("inf")
        self.needs_results: bool = False
        self._trackers = {
            kind: (index, LimitTracker(limits[index], burst, 1.0, now)) for index, kind in enumerate(KINDS)
        }
        self._unbounded: set[Admission] = set()
        self._buckets: list[tuple[int, TokenBucket]] = []
        self.counts_tokens: bool = False
        self.unlimited: bool = True
        self._refresh_buckets()

    def change_limits(self, limits: PerMinute, burst: float, now: float) -> None:
        """Change the limits that are set; the arguments are those of the class."""
        for index, kind in enumerate(KINDS):
            self._trackers[kind][1].set_limit(limits[index], burst, 1.0, now)
        self._refresh_buckets()
        self.wake_first()

    # Which calls may go.

    def delay(self, now: float, need: CallDemand) -> float:
        """Return the seconds until a call with this need may go if it is the next one; 0 for at once."""
        delay = self.pause.delay(now) if self.pause.holds else 0.0
        if self.learnt_rate.bucket is not None:
            delay = max(delay, self.learnt_rate.delay(now))
        for index, bucket in self._buckets:
            until = bucket.delay(now, need[index])
            if until > delay:
                delay = until
        return delay if delay > EPSILON else 0.0

    def delay_behind(self, now: float, need: CallDemand) -> float:
        """Return the same for a call that comes after the booked ones; infinite if it is not known."""
        delays = [bucket.delay_behind(now, need[index]) for index, bucket in self._buckets]
        delay = max(self.pause.delay_behind(now), self.learnt_rate.delay_behind(now), *delays)
        return delay if delay > EPSILON else 0.0

    def minimum_delay(self, now: float, priority: float = 0) -> float:
        """Return the minimum wait in seconds of a call that joins now, unless calls before it are cancelled.

        Considers the pause and the limits of requests. Tokens may be returned, so they are ignored.
        """
        delay, ahead = self.pause.remaining(now), self.queue.ahead_of(priority) + 1.0
        for index, bucket in self._buckets:
            if index == 0:
                delay = max(delay, bucket.delay_until(now, ahead))
        if self.learnt_rate.bucket is not None:
            delay = max(delay, self.learnt_rate.bucket.delay_until(now, ahead))
        return delay

    def admit(self, now: float, need: CallDemand) -> int:
        """Admit a call and return the number of its attempt."""
        self.sent += 1
        for index, bucket in self._buckets:
            bucket.take(now, need[index])
        if self.counts_tokens:
            requests, tokens, prompt, output = self.taken
            self.taken = CallDemand(requests + 1.0, tokens + need[1], prompt + need[2], output + need[3])
        if self.pause.holds:
            self.pause.record_probe(now, self.sent)
            self.needs_results = True
        if self.learnt_rate.bucket is not None and not self.learnt_rate.take(now):
            self.learnt_rate.clear()
            self.rejections.reset()
        return self.sent

    # The queue.

    def join(self, waiter: Waiter[CallDemand]) -> None:
        """Queue a call, until `leave`."""
        self.queue.join(waiter)
        self.pending += 1

    def serve(self, now: float) -> None:
        """Book the turns of the first waiting calls as far as the limits allow, and wake these calls."""
        while (waiter := self.queue.first()) and self.delay_behind(now, waiter.wanted) == 0:
            for index, bucket in self._buckets:
                bucket.reserve(now, waiter.wanted[index])
            if self.learnt_rate.bucket is not None:
                self.learnt_rate.bucket.reserve(now, 1.0)
            self.pause.reserve(waiter)
            self.queue.serve(waiter)

    def leave(self, now: float, waiter: Waiter[CallDemand]) -> None:
        """Remove a call from the queue, or release its booking: to go now, or because it was cancelled."""
        self.pending -= 1
        if not waiter.served:
            self.queue.leave(waiter)
        else:
            for index, bucket in self._buckets:
                bucket.release(now, waiter.wanted[index])
            if self.learnt_rate.bucket is not None:
                self.learnt_rate.bucket.release(now, 1.0)
            self.pause.release(waiter)
        self._refresh_flags()

    def wake_first(self) -> None:
        """Wake the first waiting call."""
        waiter = self.queue.first()
        if waiter is not None:
            waiter.wake()

    def wake_if_earlier(self, clock: Callable[[], float]) -> None:
        """Wake the first waiting call if its turn comes earlier than `next_turn_at`."""
        waiter = self.queue.first() if self.pending else None
        if waiter is not None:
            now = clock()
            if now + self.delay_behind(now, waiter.wanted) < self.next_turn_at:
                waiter.wake()

    # What calls use.

    def track(self, admission: Admission) -> None:
        """Remember an admitted call whose answer may be of any length."""
        if admission.unbounded:
            self._unbounded.add(admission)

    def untrack(self, admission: Admission) -> None:
        """Forget a call that has ended, however it ended."""
        self._unbounded.discard(admission)

    def settle(self, now: float, admission: Admission, used: CallDemand) -> None:
        """Replace the estimate of a finished call by its actual use."""
        if admission.need is None:
            return
        for index, bucket in self._buckets:
            if index:
                bucket.take(now, used[index] - admission.need[index])

    def record_length(self, now: float, tokens: int) -> None:
        """Record the length of an answer; if answers get longer, raise the estimates of calls in flight."""
        longer = self.answer_lengths.record(tokens)
        if not longer:
            return
        more = CallDemand(0.0, longer, 0.0, longer)
        for admission in self._unbounded:
            assert admission.need is not None
            admission.need = CallDemand(
                *[need + extra for need, extra in zip(admission.need, more, strict=True)]
            )
        for index, bucket in self._buckets:
            if index:
                bucket.take(now, more[index] * len(self._unbounded))

    def update(
        self, reported: dict[str, RateLimitInfo], now: float, admission: Admission, need: CallDemand
    ) -> None:
        """Apply the limits that the response to a call reported; ``need`` is the estimate of that call."""
        requests_since = self.sent - admission.number
        for name, info in reported.items():
            known = self._trackers.get(name)
            if known is None:
                known = self._trackers[name] = (KINDS.index(info.kind), LimitTracker(None, 1.0, 1.0, now))
            index, tracker = known
            if index == 0:
                since: float = requests_since
            elif self.counts_tokens:
                since = self.taken[index] - admission.taken[index]
            else:  # tokens were not counted so far
                since = requests_since * need[index]
            before = tracker.bucket
            tracker.update(info, now, now - admission.begun, since)
            if tracker.bucket is not before:
                self._refresh_buckets()

    # What rejections show.

    def record_rejection(
        self,
        now: float,
        admission: Admission,
        retry_after: float | None,
        *,
        exhausted: bool,
        step: float = MAX_STEP,
    ) -> float | None:
        """Record a 429.

        Args:
            now: The current time.
            admission: The call that got it.
            retry_after: Seconds that the endpoint asks to wait, None if it does not say.
            exhausted: The response shows that a limit is used up.
            step: See `Pause.record_rejection`.

        Returns:
            The length of the pause if one begins now, else None.
        """
        number = admission.number
        evidence = RateLimitEvidence.NOTHING
        if not exhausted:
            evidence = self.rejections.record_rejection(number, admission.begun, now, retry_after, self.sent)
        self.rejected += 1
        began = None
        if exhausted or evidence is RateLimitEvidence.DOMINANT or self.pause.holds:
            held = self.pause.holds
            began = self.pause.record_rejection(now, number, retry_after, step)
            if not held and (evidence is RateLimitEvidence.DOMINANT or not self._buckets):
                self.learnt_rate.blocked(now, self.pause.until, self.sent - self.rejected)
            # There is no burst after the pause.
            for _, bucket in self._buckets:
                bucket.drain(now, self.pause.until)
        elif evidence is RateLimitEvidence.SUSPECTED:
            lately, seconds = self.rejections.accepted, self.rejections.seconds
            if not self.learnt_rate.limit_reached(now, self.sent - self.rejected, lately, seconds):
                self.rejections.postpone_test()
        if evidence is RateLimitEvidence.CHANCE:
            self.learnt_rate.clear()
        self._refresh_flags()
        return began

    def record_result(self, now: float, number: int, *, succeeded: bool) -> None:
        """Record the result of an attempt that was not rejected, while `needs_results` is true."""
        self.pause.record_result(number, succeeded=succeeded)
        self.rejections.record_acceptance(number, now)
        self._refresh_flags()

    def paused_for(self, now: float) -> float:
        """Return the seconds until the pause is over, 0 without a pause."""
        return self.pause.remaining(now)

    def state(self, now: float) -> PaceState:
        """Return what may be sent at once now."""
        least: dict[int, int] = {}
        for index, bucket in self._buckets:
            level = int(bucket.available(now))
            least[index] = min(least.get(index, level), level)
        rate = None if self.learnt_rate.bucket is None else self.learnt_rate.bucket.rate
        return PaceState(
            least.get(0),
            least.get(1),
            self.paused_for(now),
            len(self.queue),
            least.get(2),
            least.get(3),
            rate,
        )

    def _refresh_buckets(self) -> None:
        """Collect the buckets of the limits that are known."""
        self._buckets = [
            (index, tracker.bucket)
            for index, tracker in self._trackers.values()
            if tracker.bucket is not None
        ]
        self.counts_tokens = any(index for index, _ in self._buckets)
        self._refresh_flags()

    def _refresh_flags(self) -> None:
        """Compute `needs_results` and `unlimited`."""
        self.needs_results = self.pause.holds or self.rejections.testing
        limited = self._buckets or self.pending or self.pause.holds or self.learnt_rate.bucket is not None
        self.unlimited = not limited
