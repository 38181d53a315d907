"""The policy `redis`: a call is sent when all processes together may send one more."""

from __future__ import annotations

import functools
from contextlib import AbstractAsyncContextManager

import attrs

from headrace import Call, CallError, Event, Reply, Send, Stage, StatusError, StreamResult
from headrace.plugins import TaskGroupFactory, is_daily_limit, is_out_of_credit
from headrace_redis.member import AccountMember
from headrace_redis.shared_lane import SharedLane


@attrs.define(eq=False)
class SharedPace:
    """Makes each call wait for its turn among the calls of all processes; made by `headrace_redis.Account`.

    Clients of one event loop that share this policy count as one process. It is also an observer: it reports
    circuits that headrace-breaker opens and closes to the other processes.
    """

    name = "redis"
    stage = Stage.PACE

    _member: AccountMember = attrs.field(repr=False)

    def lifespan(self, group: TaskGroupFactory) -> AbstractAsyncContextManager[None]:
        """Share the account while the client is open, also for `SharedSpending`."""
        return self._member.open(group)

    def notify(self, event: Event) -> None:
        """Report a circuit that opens or closes to the other processes."""
        if event.name != "circuit":
            return
        if event.data["state"] == "open":
            self._member.share_circuit(event.data["endpoint"], event.data["open_for"])
        elif event.data["state"] == "closed":
            self._member.share_circuit(event.data["endpoint"], None)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` that waits for the call's turn."""
        member, lanes = self._member, self._member.lanes

        async def pace(call: Call) -> Reply:
            model, endpoint = call.request.model, call.endpoint
            if model is None:
                return await send(call)
            if endpoint.models is not None:
                model = endpoint.name_of(model)
            lane = lanes[endpoint.base_url, endpoint.name, model]
            tokens = lane.estimate(call)
            try:
                await member.admit(lane, call, tokens)
            finally:
                _notify_availability(member, call)
            lane.attempts += 1
            number, begun = lane.attempts, call.now()
            try:
                reply = await send(call)
            except CallError as error:
                _settle_failure(lane, tokens, error)
                if isinstance(error, StatusError) and error.status == 429:
                    _record_rejection(member, lane, call, error, number, begun)
                raise
            if lane.rejecting_since is not None:
                lane.record_success(number)
            if tokens and call.streamed:
                call.add_done_callback(functools.partial(_settle_stream, lane, tokens, reply))
            elif tokens:
                _settle(lane, tokens, reply)
            return reply

        return pace


def _notify_availability(member: AccountMember, call: Call) -> None:
    """Notify observers that Redis is away or back. Events need a call, so the next call does it."""
    availability = member.availability
    if availability.pending_event is not None:
        state, availability.pending_event = availability.pending_event, None
        call.notify("redis", state=state)


def _settle_failure(lane: SharedLane, tokens: int, error: CallError) -> None:
    """Correct the estimate of a failed attempt."""
    if not isinstance(error, StatusError):
        # The endpoint counted the tokens, but their number is not known: the estimate stays.
        if error.partial is not None:
            _settle(lane, tokens, error.partial)
        return
    if 400 <= error.status < 500:
        lane.settle(tokens, 0)


def _record_rejection(
    member: AccountMember, lane: SharedLane, call: Call, error: StatusError, number: int, begun: float
) -> None:
    """Have all processes pause if a 429 is not chance.

    That is so if rejections dominate, a daily quota is used up, or no attempt succeeded since the last pause.
    """
    retry_after = error.retry_after
    if is_out_of_credit(error) or retry_after is None:
        return
    now = call.now()
    if lane.record_rejection(number, begun, now, retry_after, per_day=is_daily_limit(error)):
        member.pause(lane, now, retry_after)
        call.notify("pause", endpoint=call.endpoint.name, model=call.request.model, seconds=retry_after)


def _settle(lane: SharedLane, tokens: int, reply: Reply) -> None:
    """Replace the estimate of a call by the usage of its reply."""
    usage = reply.usage
    if tokens and usage is not None and usage.total_tokens is not None:
        lane.settle(tokens, usage.total_tokens, usage.completion_tokens)


def _settle_stream(lane: SharedLane, tokens: int, reply: Reply, result: StreamResult) -> None:
    """Settle a stream at its end."""
    _settle(lane, tokens, reply)
