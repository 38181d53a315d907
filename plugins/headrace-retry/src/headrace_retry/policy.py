"""The retry policy: the async shell around `headrace_retry.decision`."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

import anyio
import attrs

from headrace import Call, CallError, Reply, Send, SettingsError, Stage, StatusError
from headrace_retry.decision import RetrySchedule
from headrace_retry.quota import Quota, cost_of_retry

_BUDGET_EXHAUSTED = (
    "not retried: the retry budget of this client is used up, and more retries would overload an endpoint "
    "that is failing"
)


def _at_least(bound: float) -> Any:
    def check(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not bound <= value < math.inf:
            raise SettingsError(f"retry: {attribute.name}={value!r}: must be a number of at least {bound:g}")

    return check


def _known_jitter(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in {"full", "none"}:
        raise SettingsError(f"retry: jitter={value!r}: must be 'full' or 'none'")


@attrs.define(eq=False, kw_only=True)
class Retry:
    """Sends a call again when it failed with a retryable error.

    The last error is raised unchanged. It is raised at once if the next wait would reach the call's deadline,
    or if the retry budget is used up. Clients that share a policy share its budget.

    Args:
        attempts: Attempts per call, including the first one (default 3; 1: no retries).
        base: Seconds of the first backoff (default 0.5).
        factor: Each further backoff is longer by this factor (default 2).
        cap: Longest backoff in seconds (default 20).
        jitter: "full" draws the wait uniformly from 0 to the backoff; "none" waits the whole backoff.
        max_elapsed: Seconds after the call began, without its time in the queue, after which no attempt
            begins (default: no limit).
        max_retry_after: Longest `Retry-After` honoured, in seconds (default 120). If the endpoint asks for
            more, the call is not retried.
        budget: Tokens for the retries of all calls together (default 500; None: no limit). A retry costs 5,
            after a timeout 10, after a 429 with `Retry-After` nothing. A success returns the cost of its last
            retry; a success at the first attempt returns 1.
        rng: Source of the jitter.

    Raises:
        SettingsError: A value is out of range.
    """

    name = "retry"
    stage = Stage.PERSIST

    attempts: int = attrs.field(default=3, validator=_at_least(1))
    base: float = attrs.field(default=0.5, validator=_at_least(0))
    factor: float = attrs.field(default=2.0, validator=_at_least(1))
    cap: float = attrs.field(default=20.0, validator=_at_least(0))
    jitter: Literal["full", "none"] = attrs.field(default="full", validator=_known_jitter)
    max_elapsed: float | None = attrs.field(default=None, validator=_at_least(0))
    max_retry_after: float = attrs.field(default=120.0, validator=_at_least(0))
    budget: int | None = attrs.field(default=500, validator=_at_least(0))
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _quota: Quota = attrs.field(init=False, repr=False)

    @_quota.default
    def _new_quota(self) -> Quota:
        return Quota(math.inf if self.budget is None else self.budget)

    @classmethod
    def classic(cls) -> Retry:
        """Return a policy with three retries after 1 s, 2 s and 4 s, without jitter and without a budget."""
        return cls(attempts=4, base=1.0, factor=2.0, jitter="none", budget=None)

    @property
    def quota(self) -> int | None:
        """Tokens of the budget that are left now; None without a budget."""
        return None if self.budget is None else int(self._quota.left)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with retries, or ``send`` itself if ``attempts`` is 1."""
        if self.attempts == 1:
            return send
        schedule = RetrySchedule(
            attempts=self.attempts,
            base=self.base,
            factor=self.factor,
            cap=self.cap,
            jitter=self.jitter,
            max_elapsed=self.max_elapsed,
            max_retry_after=self.max_retry_after,
        )
        quota = self._quota

        async def retry(call: Call) -> Reply:
            # Not call.attempts: a call that an inner policy rejects makes no attempt, but its retries must
            # be limited as well.
            attempt = cost = sent_before = 0
            delay: float | None = None
            while True:
                try:
                    if delay is not None:
                        async with call.waiting():
                            await anyio.sleep(delay)
                    reply = await send(call)
                except BaseException as error:
                    if cost and call.attempts == sent_before:
                        # Cancelled while waiting, or rejected by an inner policy: a retry that was not sent
                        # costs nothing.
                        quota.release(cost)
                    if not isinstance(error, CallError):
                        raise
                    attempt += 1
                    cost, sent_before = cost_of_retry(error), call.attempts
                    delay = self._delay(schedule, call, attempt, error, cost)
                    if delay is None:
                        raise
                    # Outside the except block, so that this error is not the context of the next one.
                else:
                    if quota.left < quota.capacity:
                        quota.record_success(cost)
                    return reply

        return retry

    def _delay(
        self, schedule: RetrySchedule, call: Call, attempt: int, error: CallError, cost: int
    ) -> float | None:
        """Take the cost of a retry and return the seconds until then, or None for no retry."""
        if not error.retryable:
            return None
        retry_after = error.retry_after if isinstance(error, StatusError) else None
        now = call.now()
        remaining = None if call.deadline is None else call.deadline - now
        delay = schedule.delay(attempt, retry_after, now - call.started, remaining, self.rng)
        if delay is None:
            if retry_after is not None:
                _append_to_message(error, f"the endpoint asks to retry after {math.ceil(retry_after)} s")
            return None
        if not self._acquire(call, error, cost):
            return None
        status = {"status": error.status} if isinstance(error, StatusError) else {}
        call.notify("retry", attempt=attempt, delay=delay, error=error.code, **status)
        return delay

    def _acquire(self, call: Call, error: CallError, cost: int) -> bool:
        """Take the cost of a retry from the budget; return False if the budget is used up."""
        quota, already_reported = self._quota, self._quota.exhausted
        if quota.try_acquire(cost):
            return True
        _append_to_message(error, _BUDGET_EXHAUSTED)
        if not already_reported:
            call.notify("retry_budget", budget=self.budget, left=self.quota)
        return False


def _append_to_message(error: CallError, text: str) -> None:
    """Append to the message of an error; everything else is unchanged."""
    error.args = (f"{error}; {text}", *error.args[1:])
