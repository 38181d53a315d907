"""The pace policy: the async shell around `headrace_pace.rate_limiter`; a call waits here for its turn."""

from __future__ import annotations

import math
from typing import Any

import anyio
import attrs

from headrace import Call, CallError, DeadlineExceeded, EndpointPaused, RateLimits, Reply, Send, Stage
from headrace.plugins import BoundedMapping, Waiter, positive_number
from headrace_pace.call_demand import REQUEST, Admission, CallDemand
from headrace_pace.feedback import estimate, record_attempt, record_failure, record_reply
from headrace_pace.pace_state import PaceState
from headrace_pace.rate_limit_headers import KINDS
from headrace_pace.rate_limiter import RateLimiter

_REQUEUE_BONUS = 0.5
"""Added to the priority, an integer, of a call that queues again: it goes before others of its priority."""

_ADJUSTABLE = {f"{kind.replace('_', '-')}-per-minute": f"{kind}_per_minute" for kind in KINDS}
"""The limits that can be changed while calls are made, and their attributes."""


@attrs.define(eq=False, kw_only=True)
class Pace(RateLimits):
    """Sends calls at the rate that their endpoint and model allow, and pauses when the endpoint rejects all.

    Limits that are not set are learnt from the rate-limit headers of responses, or from rejections. A call
    whose turn comes after its deadline fails at once with `DeadlineExceeded`. Calls without a model are not
    paced.

    Args:
        requests_per_minute: For each model at each endpoint (default None: learnt).
        tokens_per_minute: The same for input and output tokens together.
        input_tokens_per_minute: The same for input tokens, without cached ones.
        output_tokens_per_minute: The same for output tokens.
        limits: Other limits, by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``. For each key, the first
            of these that has it applies.
        burst: Burst size, as seconds' worth of a limit that is set (default 1); one call at least.
        max_pause: The longest pause in seconds that calls wait for (default 120). In a longer one, calls fail
            at once with `EndpointPaused`, which has the seconds to wait in ``retry_after``.

    Raises:
        SettingsError: A value is out of range, or ``limits`` has an unknown key.
    """

    name = "pace"
    stage = Stage.PACE

    max_pause: float = attrs.field(default=120.0, validator=positive_number)
    _limiters: BoundedMapping[tuple[str, str], RateLimiter] = attrs.field(init=False, repr=False)

    @_limiters.default
    def _no_limiters(self) -> BoundedMapping[tuple[str, str], RateLimiter]:
        return BoundedMapping(
            lambda key: self._new_limiter(*key, anyio.current_time()),
            in_use=lambda limiter: bool(limiter.queue),
        )

    def state(self, endpoint: str, model: str) -> PaceState:
        """Return what may be sent at once now to a model, by its name there, at the endpoint of this name.

        Call it on the event loop whose calls are paced.
        """
        now = anyio.current_time()
        limiter = self._limiters.find((endpoint, model)) or self._new_limiter(endpoint, model, now)
        return limiter.state(now)

    def adjustable_limits(self) -> dict[str, float | None]:
        """The limits for all models, which can be changed while a bulk run goes on.

        See `headrace.bulk.AdjustableLimits`.
        """
        return {name: getattr(self, key) for name, key in _ADJUSTABLE.items()}

    def set_limit(self, name: str, value: float | str | None) -> None:
        """Change a limit for all models that have no other one in ``limits``; waiting calls follow at once.

        Raises:
            SettingsError: The value is not a number above 0.
        """
        setattr(self, _ADJUSTABLE[name], _as_number(value) if isinstance(value, str) else value)
        now = anyio.current_time()
        for (endpoint, model), limiter in self._limiters.all_items():
            limiter.change_limits(self.per_minute(endpoint, model), self.burst, now)

    def reset(self) -> None:
        """Forget everything learnt: its event loop, and so its clock, has ended."""
        self._limiters.clear()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` that waits for the call's turn."""
        limiters = self._limiters

        async def pace(call: Call) -> Reply:
            model, endpoint = call.request.model, call.endpoint
            if model is None:
                return await send(call)
            if endpoint.models is not None:
                model = endpoint.name_of(model)
            now = call.now()
            limiter = limiters[endpoint.name, model]
            if limiter.unlimited:
                limiter.sent += 1
                admission = Admission(now, limiter.sent, limiter.taken)
            else:
                admission = await self._admit(limiter, call, now)
            try:
                reply = await send(call)
            except BaseException as error:
                if isinstance(error, CallError):
                    record_failure(limiter, call, admission, error, self.max_pause)
                elif limiter.needs_results:
                    record_attempt(limiter, call, admission, succeeded=False)
                limiter.untrack(admission)
                raise
            if limiter.needs_results:
                record_attempt(limiter, call, admission, succeeded=True)
            record_reply(limiter, call, admission, reply)
            return reply

        return pace

    def _new_limiter(self, endpoint: str, model: str, now: float) -> RateLimiter:
        """Return a limiter with the limits that are set for a model at an endpoint."""
        return RateLimiter(self.per_minute(endpoint, model), self.burst, now)

    async def _admit(self, limiter: RateLimiter, call: Call, now: float) -> Admission:
        """Admit a call, at once or when its turn comes."""
        need, unbounded = REQUEST, False
        counted = limiter.counts_tokens
        if counted:
            need, unbounded = estimate(limiter, call)
        if limiter.pending:
            must_wait = bool(limiter.queue) or limiter.delay_behind(now, need) > 0
        else:
            must_wait = limiter.delay(now, need) > 0
        if must_wait:
            await self._wait(limiter, call, need)
            now = call.now()
        number = limiter.admit(now, need)
        if limiter.pending:
            limiter.wake_if_earlier(call.now)
        admission = Admission(now, number, limiter.taken, need if counted else None, unbounded)
        if unbounded:
            limiter.track(admission)
        return admission

    async def _wait(self, limiter: RateLimiter, call: Call, need: CallDemand) -> None:
        """Wait until the call's turn has come and it holds its tokens again."""
        priority: float = call.priority
        while True:
            self._check_turn(limiter, call, priority)
            waiter = Waiter(need, priority)
            limiter.join(waiter)
            try:
                async with call.waiting():
                    await self._wait_in_queue(limiter, call, waiter)
            except BaseException:
                limiter.leave(call.now(), waiter)
                limiter.wake_first()
                raise
            now = call.now()
            limiter.leave(now, waiter)
            if not limiter.delay(now, need):
                return
            # The call got its tokens too late for the booked turn.
            limiter.wake_if_earlier(call.now)
            priority = call.priority + _REQUEUE_BONUS

    async def _wait_in_queue(self, limiter: RateLimiter, call: Call, waiter: Waiter[CallDemand]) -> None:
        """Wait until a turn is booked; the first waiter watches the clock for all."""
        while not waiter.served:
            now = call.now()
            self._check_pause(limiter, call, now)
            if limiter.queue.first() is not waiter:
                await waiter.until_woken()
            elif delay := limiter.delay_behind(now, waiter.wanted):
                limiter.next_turn_at = now + delay
                with anyio.move_on_after(delay):
                    await waiter.until_woken()
            else:
                limiter.serve(now)
                limiter.wake_first()

    def _check_turn(self, limiter: RateLimiter, call: Call, priority: float) -> None:
        """Raise an error if waiting is pointless."""
        now = call.now()
        self._check_pause(limiter, call, now)
        delay = limiter.minimum_delay(now, priority)
        if call.deadline is not None and now + delay >= call.deadline:
            raise DeadlineExceeded(
                f"not sent: the rate limit of {_describe(call)} allows this call in {delay:.1f} s at the "
                "earliest, which is after its deadline",
                "deadline",
            )

    def _check_pause(self, limiter: RateLimiter, call: Call, now: float) -> None:
        """Raise `EndpointPaused` in a pause that is longer than `max_pause`."""
        left = limiter.paused_for(now)
        if left > self.max_pause:
            raise EndpointPaused(
                f"not sent: calls of {_describe(call)} are paused; retry after {math.ceil(left)} s", left
            )


def _as_number(text: str) -> Any:
    """A number from its text; another text stays, and the validator of the limit refuses it."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _describe(call: Call) -> str:
    """Return the model and the endpoint of a call, for messages."""
    return f"{call.request.model!r} at {call.endpoint.name}"
