"""The policy `redis`: a call goes when all processes together may send one more."""

from __future__ import annotations

import functools
from contextlib import AbstractAsyncContextManager

import attrs

from headrace import Call, CallError, Event, Reply, Send, Stage, StatusError, StreamResult
from headrace.plugins import TaskGroupFactory, is_daily_limit, is_out_of_credit
from headrace_redis.lane import Lane
from headrace_redis.link import Link


@attrs.define(eq=False)
class SharedPace:
    """Has each call wait for its turn among those of all processes; made by `headrace_redis.Account`.

    Clients of one event loop that share it count as one process. It is an observer as well: it tells the
    other processes of circuits that headrace-breaker opens and closes.
    """

    name = "redis"
    stage = Stage.PACE

    _link: Link = attrs.field(repr=False)

    def lifespan(self, group: TaskGroupFactory) -> AbstractAsyncContextManager[None]:
        """Share the account while the client is open, also for `SharedSpending`."""
        return self._link.open(group)

    def notify(self, event: Event) -> None:
        """Tell the other processes of a circuit that opens or closes."""
        if event.name != "circuit":
            return
        if event.data["state"] == "open":
            self._link.tell_circuit(event.data["endpoint"], event.data["open_for"])
        elif event.data["state"] == "closed":
            self._link.tell_circuit(event.data["endpoint"], None)

    def wrap(self, send: Send) -> Send:
        """``send`` when the call's turn has come."""
        link, lanes = self._link, self._link.lanes

        async def pace(call: Call) -> Reply:
            model, endpoint = call.request.model, call.endpoint
            if model is None:
                return await send(call)
            if endpoint.models is not None:
                model = endpoint.name_of(model)
            lane = lanes[endpoint.base_url, endpoint.name, model]
            tokens = lane.estimate(call)
            try:
                await link.admit(lane, call, tokens)
            finally:
                _tell(link, call)
            lane.begun += 1
            number, begun = lane.begun, call.now()
            try:
                reply = await send(call)
            except CallError as error:
                _failed(link, lane, call, tokens, error)
                if isinstance(error, StatusError) and error.status == 429:
                    _refused(link, lane, call, error, number, begun)
                raise
            if lane.refusing_since is not None:
                lane.accepted(number)
            if tokens and call.streamed:
                call.add_done_callback(functools.partial(_stream_ended, lane, tokens, reply))
            elif tokens:
                _settle(lane, tokens, reply)
            return reply

        return pace


def _tell(link: Link, call: Call) -> None:
    """Tell observers that Redis is away or back; events need a call, so the next one does it."""
    if link.reach.untold is not None:
        state, link.reach.untold = link.reach.untold, None
        call.notify("redis", state=state)


def _failed(link: Link, lane: Lane, call: Call, tokens: int, error: CallError) -> None:
    """Correct the estimate of an attempt that failed."""
    if not isinstance(error, StatusError):
        # The endpoint counted what it accepted, and how much that was is not known: the estimate stands.
        if error.partial is not None:
            _settle(lane, tokens, error.partial)
        return
    if 400 <= error.status < 500:
        lane.settle(tokens, 0)


def _refused(link: Link, lane: Lane, call: Call, error: StatusError, number: int, begun: float) -> None:
    """Have all processes pause where a 429 is not chance.

    RateLimitDetector dominate, a day's worth is used up, or nothing was accepted since the last pause.
    """
    asked = error.retry_after
    if is_out_of_credit(error) or asked is None:
        return
    now = call.now()
    if lane.refused(number, begun, now, asked, per_day=is_daily_limit(error)):
        link.pause(lane, now, asked)
        call.notify("pause", endpoint=call.endpoint.name, model=call.request.model, seconds=asked)


def _settle(lane: Lane, tokens: int, reply: Reply) -> None:
    usage = reply.usage
    if tokens and usage is not None and usage.total_tokens is not None:
        lane.settle(tokens, usage.total_tokens, usage.completion_tokens)


def _stream_ended(lane: Lane, tokens: int, reply: Reply, result: StreamResult) -> None:
    _settle(lane, tokens, reply)
