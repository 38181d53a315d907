"""The pace policy: the async shell around `headrace_pace.lane`."""

from __future__ import annotations

import functools
import math
import time
from typing import ClassVar

import anyio
import attrs

from headrace import (
    Call,
    CallError,
    DeadlineExceeded,
    Ending,
    EndpointPaused,
    RateLimits,
    Reply,
    Send,
    Stage,
    StatusError,
)
from headrace.rate_limits import above_zero
from headrace.reply import Headers
from headrace.requests import most_output
from headrace_pace.headers import Said, read_limits
from headrace_pace.lane import Lane, State, Ticket


@attrs.define(eq=False)
class _Passage:
    """A call that was let through: when, what was let through by then, and what it was taken to need."""

    begun: float
    sent: int
    spent: int
    tokens: int


@attrs.define(eq=False, kw_only=True)
class Pace(RateLimits):
    """Sends calls at the rate that their endpoint and model allow, and has all of them pause after a 429.

    ``requests_per_minute``, ``tokens_per_minute``: for each model at each endpoint (default: learnt from the
    ``x-ratelimit-…`` headers of answers; without these, no limit). ``limits``: other ones, by
    ``"ENDPOINT/MODEL"``, ``"MODEL"`` or ``"ENDPOINT"``; of each key, the first of these that has it counts.
    ``burst``: how many seconds' worth of a limit that is set may go at once (default 1), but always one call.
    ``max_pause``: the longest pause in seconds that is waited for (default 120); in a longer one, calls fail
    at once with `EndpointPaused`, which says when to come back.

    A call whose deadline comes before its turn fails at once with `DeadlineExceeded`. Calls that name no
    model are not paced. Raises `SettingsError` for a value out of range and an unknown key in ``limits``.
    """

    name: ClassVar[str] = "pace"
    stage: ClassVar[Stage] = Stage.PACE

    max_pause: float = attrs.field(default=120.0, validator=above_zero)
    _lanes: dict[tuple[str, str], Lane] = attrs.field(factory=dict, init=False, repr=False)

    def state(self, endpoint: str, model: str) -> State:
        """What may be sent at once now to a model, by its name there, at the endpoint of this name.

        To be asked on the event loop whose calls are paced.
        """
        now = anyio.current_time()
        lane = self._lanes.get((endpoint, model))
        return (lane or self._new_lane(endpoint, model, now)).state(now)

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
            lane = lanes.get((endpoint.name, model))
            if lane is None:
                lane = lanes[endpoint.name, model] = self._new_lane(endpoint.name, model, now)
            tokens = 0
            if lane.free:
                lane.sent += 1
            else:
                if lane.tokens.bucket is not None:
                    tokens = _estimate(lane, call)
                if lane.line or lane.wait(now, tokens):
                    await self._wait(lane, call, tokens)
                    now = call.now()
                else:
                    lane.go(now, tokens)
            passage = _Passage(now, lane.sent, lane.spent, tokens)
            try:
                reply = await send(call)
            except CallError as error:
                self._failed(lane, call, passage, error)
                raise
            if tokens and call.streamed:
                call.at_end(functools.partial(_stream_ended, lane, call, passage, reply))
            elif tokens:
                _settle(lane, call, passage, reply)
            _hear(lane, call, passage, reply.headers)
            return reply

        return pace

    def _new_lane(self, endpoint: str, model: str, now: float) -> Lane:
        return Lane(*self.a_minute(endpoint, model), self.burst, now)

    async def _wait(self, lane: Lane, call: Call, tokens: int) -> None:
        """Stand in line until it is the call's turn; who stands first watches the clock for all."""
        self._check_turn(lane, call)
        ticket = Ticket(tokens, anyio.Event(), call.priority)
        lane.join(ticket)
        try:
            while not ticket.granted:
                if ticket.woken.is_set():
                    ticket.woken = anyio.Event()
                now = call.now()
                self._check_pause(lane, call, now)
                if lane.first() is not ticket:
                    await ticket.woken.wait()
                elif wait := lane.wait(now, tokens):
                    lane.due = now + wait
                    with anyio.move_on_after(wait):
                        await ticket.woken.wait()
                else:
                    for other in lane.serve(now):
                        other.woken.set()
                    _wake_first(lane)
        except BaseException:
            lane.leave(call.now(), ticket)
            _wake_first(lane)
            raise

    def _check_turn(self, lane: Lane, call: Call) -> None:
        """Raise where there is no use in waiting."""
        now = call.now()
        self._check_pause(lane, call, now)
        turn = lane.turn(now, call.priority)
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

    def _failed(self, lane: Lane, call: Call, passage: _Passage, error: CallError) -> None:
        """Settle what failed, and begin a pause where it is a 429."""
        if not isinstance(error, StatusError):
            # What came but is not what was asked for says its usage. Of what broke or took too long nothing
            # is known, and the endpoint counted what it accepted: the estimate stands.
            if error.partial is not None:
                _settle(lane, call, passage, error.partial)
                _hear(lane, call, passage, error.partial.headers)
            return
        if 400 <= error.status < 500:
            _give_back(lane, call, passage)  # refused, so no tokens were used
        said = None if error.headers is None else _hear(lane, call, passage, error.headers)
        if error.status != 429 or error.error_code == "insufficient_quota":
            return
        asked = error.retry_after
        if asked is None and said is not None:
            asked = _reset(said, passage)
        seconds = lane.refuse(call.now(), passage.begun, asked)
        if lane.paused_for(call.now()) > self.max_pause:
            for ticket in lane.line:
                ticket.woken.set()  # to be told
        if seconds is not None:
            call.notify("pause", endpoint=call.endpoint.name, model=call.request.model, seconds=seconds)


def _whose(call: Call) -> str:
    return f"{call.request.model!r} at {call.endpoint.name}"


def _estimate(lane: Lane, call: Call) -> int:
    return lane.estimate(call.content, most_output(call.request.body or {}, None))


def _reset(said: dict[str, Said], passage: _Passage) -> float | None:
    """When there is again what a 429 shows is used up, None where it does not show that."""
    needed = {"requests": 1, "tokens": max(1, passage.tokens)}
    resets = [
        each.reset
        for kind, each in said.items()
        if each.reset and (each.remaining is None or each.remaining < needed[kind])
    ]
    return max(resets, default=None)


def _settle(lane: Lane, call: Call, passage: _Passage, reply: Reply) -> None:
    usage = reply.usage
    if usage is not None and usage.total_tokens is not None and passage.tokens:
        lane.learn_length(usage.completion_tokens or 0)
        lane.settle(call.now(), passage.tokens, usage.total_tokens)
        _wake_in_time(lane, call)


def _stream_ended(lane: Lane, call: Call, passage: _Passage, reply: Reply, ending: Ending) -> None:
    _settle(lane, call, passage, reply)


def _give_back(lane: Lane, call: Call, passage: _Passage) -> None:
    if passage.tokens:
        lane.settle(call.now(), passage.tokens, 0)
        _wake_in_time(lane, call)


def _hear(lane: Lane, call: Call, passage: _Passage, headers: Headers) -> dict[str, Said] | None:
    """Take account of what an answer says of limits, and return it."""
    said = read_limits(headers.raw, time.time())
    if said is not None:
        tokens = passage.tokens or ("tokens" in said and _estimate(lane, call)) or 0
        lane.hear(said, call.now(), passage.begun, passage.sent, passage.spent, tokens)
        _wake_in_time(lane, call)
    return said


def _wake_in_time(lane: Lane, call: Call) -> None:
    """Wake who stands first where its turn has come nearer."""
    ticket = lane.first()
    if ticket is not None:
        now = call.now()
        if now + lane.wait(now, ticket.tokens) < lane.due:
            ticket.woken.set()


def _wake_first(lane: Lane) -> None:
    ticket = lane.first()
    if ticket is not None:
        ticket.woken.set()
