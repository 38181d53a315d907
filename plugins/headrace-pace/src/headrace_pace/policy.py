"""The pace policy: the async shell around `headrace_pace.lane`."""

from __future__ import annotations

import functools
import math
import time

import anyio
import attrs

from headrace import (
    Call,
    CallError,
    DeadlineExceeded,
    EndpointPaused,
    Headers,
    RateLimits,
    Reply,
    Send,
    Stage,
    StatusError,
    StreamResult,
)
from headrace.plugins import (
    BoundedMapping,
    Waiter,
    is_daily_limit,
    is_out_of_credit,
    max_output_tokens,
    positive_number,
)
from headrace_pace.headers import KINDS, Said, read_limits
from headrace_pace.lane import Lane, Passage, State
from headrace_pace.need import NOTHING, REQUEST, Need, need, used
from headrace_pace.pause import LONGEST_STEP

_DAYS_STEP = 3600.0
"""Seconds for which nothing goes where a day's worth is used up and nobody says until when."""

_AGAIN = 0.5
"""Added to the priority, a whole number, of calls that stand in line again: they go before others of it."""


@attrs.define(eq=False, kw_only=True)
class Pace(RateLimits):
    """Sends calls at the rate that their endpoint and model allow, and has all pause where nothing goes.

    ``requests_per_minute``, ``tokens_per_minute`` (input and output together), ``input_tokens_per_minute``,
    ``output_tokens_per_minute``: for each model at each endpoint (default: learnt from the rate-limit headers
    of answers, or from what is refused). ``limits``: other ones, by ``"ENDPOINT/MODEL"``, ``"MODEL"`` or
    ``"ENDPOINT"``; of each key, the first of these that has it counts. ``burst``: how many seconds' worth of
    a limit that is set may go at once (default 1), but always one call. ``max_pause``: the longest pause in
    seconds that is waited for (default 120); in a longer one, calls fail at once with `EndpointPaused`, which
    says when to come back.

    A call whose deadline comes before its turn fails at once with `DeadlineExceeded`. Calls that name no
    model are not paced. Raises `SettingsError` for a value out of range and an unknown key in ``limits``.
    """

    name = "pace"
    stage = Stage.PACE

    max_pause: float = attrs.field(default=120.0, validator=positive_number)
    _lanes: BoundedMapping[tuple[str, str], Lane] = attrs.field(init=False, repr=False)

    @_lanes.default
    def _no_lanes(self) -> BoundedMapping[tuple[str, str], Lane]:
        return BoundedMapping(
            lambda key: self._new_lane(*key, anyio.current_time()), in_use=lambda lane: bool(lane.line)
        )

    def state(self, endpoint: str, model: str) -> State:
        """What may be sent at once now to a model, by its name there, at the endpoint of this name.

        To be asked on the event loop whose calls are paced.
        """
        now = anyio.current_time()
        lane = self._lanes.find((endpoint, model)) or self._new_lane(endpoint, model, now)
        return lane.state(now)

    def reset(self) -> None:
        """Forget all that was learnt: its event loop, and so its clock, has ended."""
        self._lanes.clear()

    def wrap(self, send: Send) -> Send:
        """``send`` when it is the call's turn."""
        lanes = self._lanes

        async def pace(call: Call) -> Reply:
            model, endpoint = call.request.model, call.endpoint
            if model is None:
                return await send(call)
            if endpoint.models is not None:
                model = endpoint.name_of(model)
            now = call.now()
            lane = lanes[endpoint.name, model]
            if lane.free:
                lane.sent += 1
                passage = Passage(now, lane.sent, lane.spent)
            else:
                passage = await self._admit(lane, call, now)
            try:
                reply = await send(call)
            except CallError as error:
                self._failed(lane, call, passage, error)
                raise
            except BaseException:
                if lane.watched:
                    _passed(lane, call, passage, succeeded=False)
                raise
            if lane.watched:
                _passed(lane, call, passage, succeeded=True)
            if passage.need is None:
                pass
            elif call.streamed:
                call.add_done_callback(functools.partial(_stream_ended, lane, call, passage, reply))
            else:
                _settle(lane, call, passage, reply)
            _hear(lane, call, passage, reply.headers)
            return reply

        return pace

    def _new_lane(self, endpoint: str, model: str, now: float) -> Lane:
        return Lane(self.per_minute(endpoint, model), self.burst, now)

    async def _admit(self, lane: Lane, call: Call, now: float) -> Passage:
        """Let a call through, at once or when it is its turn."""
        needed, unbounded = REQUEST, False
        counted = lane.counts_tokens
        if counted:
            needed, unbounded = _need(lane, call)
        if (lane.line or lane.wait_behind(now, needed)) if lane.unsent else lane.wait(now, needed):
            await self._wait(lane, call, needed)
            now = call.now()
        number = lane.go(now, needed)
        if lane.unsent:
            _wake_in_time(lane, call)
        passage = Passage(now, number, lane.spent, needed if counted else None, unbounded)
        if unbounded:
            lane.begin(passage)
        return passage

    async def _wait(self, lane: Lane, call: Call, needed: Need) -> None:
        """Return when it is the call's turn and it holds its tokens again."""
        priority: float = call.priority
        while True:
            self._check_turn(lane, call, priority)
            waiter = Waiter(needed, priority)
            lane.join(waiter)
            try:
                async with call.waiting():
                    await self._stand_in_line(lane, call, waiter)
            except BaseException:
                lane.leave(call.now(), waiter)
                _wake_first(lane)
                raise
            now = call.now()
            lane.leave(now, waiter)
            if not lane.wait(now, needed):
                return
            # The tokens came too late for the turn that was booked.
            _wake_in_time(lane, call)
            priority = call.priority + _AGAIN

    async def _stand_in_line(self, lane: Lane, call: Call, waiter: Waiter[Need]) -> None:
        """Wait until a turn is booked; who stands first watches the clock for all."""
        while not waiter.served:
            now = call.now()
            self._check_pause(lane, call, now)
            if lane.line.first() is not waiter:
                await waiter.until_woken()
            elif wait := lane.wait_behind(now, waiter.wanted):
                lane.due = now + wait
                with anyio.move_on_after(wait):
                    await waiter.until_woken()
            else:
                lane.serve(now)
                _wake_first(lane)

    def _check_turn(self, lane: Lane, call: Call, priority: float) -> None:
        """Raise where there is no use in waiting."""
        now = call.now()
        self._check_pause(lane, call, now)
        turn = lane.turn(now, priority)
        if call.deadline is not None and now + turn >= call.deadline:
            raise DeadlineExceeded(
                f"not sent: the rate limit of {_whose(call)} leaves no turn for {turn:.1f} s, "
                "and the request's deadline is before that",
                "deadline",
            )

    def _check_pause(self, lane: Lane, call: Call, now: float) -> None:
        left = lane.paused_for(now)
        if left > self.max_pause:
            raise EndpointPaused(
                f"not sent: {_whose(call)} asks to stay away; come back in {math.ceil(left)} s", left
            )

    def _failed(self, lane: Lane, call: Call, passage: Passage, error: CallError) -> None:
        """Settle what failed, and find out what a 429 says."""
        if not isinstance(error, StatusError):
            # What came but is not what was asked for says its usage. Of what broke or took too long nothing
            # is known, and the endpoint counted what it accepted: the estimate stands.
            if error.partial is not None:
                _settle(lane, call, passage, error.partial)
                _hear(lane, call, passage, error.partial.headers)
            _passed(lane, call, passage, succeeded=False)
            return
        if 400 <= error.status < 500 and passage.need is not None:
            lane.settle(call.now(), passage, NOTHING)  # refused, so no tokens were used
            _wake_in_time(lane, call)
        said = None if error.headers is None else _hear(lane, call, passage, error.headers)
        if error.status != 429 or is_out_of_credit(error):
            _passed(lane, call, passage, succeeded=False)
            return
        self._refused(lane, call, passage, error, said)

    def _refused(
        self, lane: Lane, call: Call, passage: Passage, error: StatusError, said: dict[str, Said] | None
    ) -> None:
        asked, reset = error.retry_after, None
        if said is not None:
            reset = _reset(said, passage.need or _need(lane, call)[0])
        per_day, step = is_daily_limit(error), LONGEST_STEP
        if per_day:
            step = _DAYS_STEP
            if asked is None and reset is None:
                asked = _DAYS_STEP
        seconds = lane.refuse(
            call.now(),
            passage,
            reset if asked is None else asked,
            exhausted=per_day or reset is not None,
            step=step,
        )
        if lane.paused_for(call.now()) > self.max_pause:
            for waiter in lane.line:
                waiter.wake()  # to be told
        _wake_in_time(lane, call)
        if seconds is not None:
            call.notify("pause", endpoint=call.endpoint.name, model=call.request.model, seconds=seconds)


def _whose(call: Call) -> str:
    return f"{call.request.model!r} at {call.endpoint.name}"


def _need(lane: Lane, call: Call) -> tuple[Need, bool]:
    """What a call is taken to need, and whether its body leaves open how long its answer may be."""
    output = max_output_tokens(call.request.body or {}, None)
    unbounded = output is None
    return need(call.content, lane.lengths.usual if output is None else output), unbounded


def _reset(said: dict[str, Said], needed: Need) -> float | None:
    """When there is again what a 429 shows is used up, None where it does not show that."""
    resets = [
        each.reset
        for each in said.values()
        if each.reset and each.remaining is not None and each.remaining < needed[KINDS.index(each.kind)]
    ]
    return max(resets, default=None)


def _settle(lane: Lane, call: Call, passage: Passage, reply: Reply) -> None:
    usage = reply.usage
    if usage is not None and passage.need is not None:
        if usage.completion_tokens is not None:
            lane.learn_length(call.now(), usage.completion_tokens)
        lane.settle(call.now(), passage, used(usage, passage.need))
        _wake_in_time(lane, call)


def _stream_ended(lane: Lane, call: Call, passage: Passage, reply: Reply, result: StreamResult) -> None:
    _settle(lane, call, passage, reply)


def _passed(lane: Lane, call: Call, passage: Passage, *, succeeded: bool) -> None:
    """An attempt was not refused."""
    if lane.watched:
        lane.passed(call.now(), passage.number, succeeded=succeeded)
        _wake_in_time(lane, call)


def _hear(lane: Lane, call: Call, passage: Passage, headers: Headers) -> dict[str, Said] | None:
    """Take account of what an answer says of limits, and return it."""
    said = read_limits(headers.raw, time.time())
    if said is not None:
        lane.hear(said, call.now(), passage, passage.need or _need(lane, call)[0])
        _wake_in_time(lane, call)
    return said


def _wake_in_time(lane: Lane, call: Call) -> None:
    """Wake who stands first where its turn has come nearer."""
    waiter = lane.line.first() if lane.unsent else None
    if waiter is not None:
        now = call.now()
        if now + lane.wait_behind(now, waiter.wanted) < lane.due:
            waiter.wake()


def _wake_first(lane: Lane) -> None:
    waiter = lane.line.first()
    if waiter is not None:
        waiter.wake()
