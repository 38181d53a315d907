"""The retry policy: the async shell around `headrace_retry.decision`."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

import anyio
import attrs

from headrace import Call, CallError, Reply, Send, SettingsError, Stage, StatusError
from headrace_retry.decision import Schedule
from headrace_retry.quota import Quota, cost_of_retry

_USED_UP = (
    "not tried again: the client's retry budget is used up, "
    "and more retries would weigh on an endpoint in trouble"
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
    """Sends a call again when it failed in a way that a second try can mend.

    ``attempts``: how many tries a call gets in all, the first one included (default 3; 1: no retries).
    ``base``, ``factor``, ``cap``: the backoff in seconds (default 0.5, doubled each time, at most 20).
    ``jitter``: "full" draws the wait evenly from 0 to the backoff, "none" waits all of it.
    ``max_elapsed``: no try begins later than this many seconds after the call began, without those for which
    it was queued (default: no bound).
    ``max_retry_after``: the longest wait in seconds that the endpoint may ask for (default 120); when it
    asks for more, the call is not tried again. ``budget``: the tokens that all calls together have for
    retries (default 500; None: no such bound). A retry takes 5, after a timeout 10, and none after a 429 that
    says when to come back; a success gives back what its last retry took, one at the first try 1. ``rng``:
    where the jitter comes from.

    The last error is raised as it is, and at once where the next wait would reach the call's deadline or the
    budget is used up. The budget belongs to the policy: clients that share one share it.
    Raises `SettingsError` for a value out of range.
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
    def _full(self) -> Quota:
        return Quota(math.inf if self.budget is None else self.budget)

    @classmethod
    def classic(cls) -> Retry:
        """Three retries after 1 s, 2 s and 4 s, without jitter and without a budget."""
        return cls(attempts=4, base=1.0, factor=2.0, jitter="none", budget=None)

    @property
    def quota(self) -> int | None:
        """How many tokens of the budget are left now; None without a budget."""
        return None if self.budget is None else int(self._quota.left)

    def wrap(self, send: Send) -> Send:
        """``send`` with retries; ``send`` itself where ``attempts`` is 1."""
        if self.attempts == 1:
            return send
        schedule = Schedule(
            attempts=self.attempts,
            base=self.base,
            factor=self.factor,
            cap=self.cap,
            jitter=self.jitter,
            max_elapsed=self.max_elapsed,
            max_retry_after=self.max_retry_after,
        )
        quota = self._quota

        async def persist(call: Call) -> Reply:
            # Tries, not call.attempts: what an inner policy refuses is no trip over the wire, but must come
            # to an end as well.
            tried = taken = begun = 0
            delay: float | None = None
            while True:
                try:
                    if delay is not None:
                        async with call.waiting():
                            await anyio.sleep(delay)
                    reply = await send(call)
                except BaseException as error:
                    if taken and call.attempts == begun:
                        # Cancelled while it waited, or refused by an inner policy: a retry that is not sent
                        # costs nothing.
                        quota.give_back(taken)
                    if not isinstance(error, CallError):
                        raise
                    tried += 1
                    taken, begun = cost_of_retry(error), call.attempts
                    delay = self._delay(schedule, call, tried, error, taken)
                    if delay is None:
                        raise
                    # Waited for outside the handler, so that the next error has not this one as its context.
                else:
                    if quota.left < quota.capacity:
                        quota.succeeded(taken)
                    return reply

        return persist

    def _delay(self, schedule: Schedule, call: Call, tried: int, error: CallError, cost: int) -> float | None:
        """Seconds until the next try, whose cost is then taken; None where there is to be none."""
        if not error.retryable:
            return None
        asked = error.retry_after if isinstance(error, StatusError) else None
        now = call.now()
        remaining = None if call.deadline is None else call.deadline - now
        delay = schedule.delay(tried, asked, now - call.started, remaining, self.rng)
        if delay is None:
            if asked is not None:
                _say(error, f"the endpoint asks to come back in {math.ceil(asked)} s")
            return None
        if not self._take(call, error, cost):
            return None
        status = {"status": error.status} if isinstance(error, StatusError) else {}
        call.notify("retry", attempt=tried, delay=delay, error=error.code, **status)
        return delay

    def _take(self, call: Call, error: CallError, cost: int) -> bool:
        """Whether the budget has room for a retry, whose cost is then taken."""
        quota, told = self._quota, self._quota.used_up
        if quota.take(cost):
            return True
        _say(error, _USED_UP)
        if not told:
            call.notify("retry_budget", budget=self.budget, left=self.quota)
        return False


def _say(error: CallError, more: str) -> None:
    """Add to the message of an error, which is raised as it is otherwise."""
    error.args = (f"{error}; {more}", *error.args[1:])
