"""The types of policies, of headrace and of third parties. Checked by mypy, not executed."""

from __future__ import annotations

from typing import ClassVar, assert_type

import attrs

from headrace import Call, Client, Event, Observer, Policy, RateLimits, Reply, Send, Stage, StreamResult
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_cache import Cache
from headrace_cost import Cost
from headrace_hedge import Hedge
from headrace_logging import Logging
from headrace_otel import Otel
from headrace_pace import Pace
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route

ALL: list[Policy] = [
    *(Adaptive(), Breaker(), Cache(), Cost(), Hedge(), Logging(), Otel(), Pace(), Repair(), Retry(), Route()),
]
Client(policies=[Adaptive(), Breaker(window_calls=50), Cost(), Pace(), Retry(attempts=5), Route(by="order")])
Client(policies=[Retry(atempts=5)])  # type: ignore[call-arg]
Client(policies=[Retry])  # type: ignore[list-item]


class Plain:
    """A policy that derives from nothing."""

    name = "plain"
    stage = Stage.ANSWER

    def wrap(self, send: Send) -> Send:
        async def answer(call: Call) -> Reply:
            reply = await send(call)
            assert_type(reply, Reply)
            return reply

        return answer


@attrs.define(eq=False, kw_only=True)
class Turnstile(RateLimits):
    """A policy with settings and state that is also an observer."""

    name = "turnstile"
    stage = Stage.PACE

    patience: float = 60.0
    _waiting: int = attrs.field(default=0, init=False)

    def wrap(self, send: Send) -> Send:
        async def wait(call: Call) -> Reply:
            self._waiting += 1
            call.notify("turnstile", waiting=self._waiting)
            if call.streamed:
                call.add_done_callback(self.ended)
            return await send(call)

        return wait

    def ended(self, ending: StreamResult) -> None:
        self._waiting -= 1

    def notify(self, event: Event) -> None:
        assert_type(event.name, str)


@attrs.frozen
class Named:
    """A policy whose name the user chooses."""

    name: str
    stage: Stage = Stage.OBSERVE

    def wrap(self, send: Send) -> Send:
        return send


policies: list[Policy] = [Plain(), Turnstile(requests_per_minute=60), Named("mine")]
observers: list[Observer] = [Turnstile()]
Client(policies=policies, observers=observers)
Client(policies=[Plain(), Turnstile(patience=3), Named("mine")])


class NoStage:
    name = "no-stage"

    def wrap(self, send: Send) -> Send:
        return send


class NotAsync:
    name = "not-async"
    stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        def sent(call: Call) -> Reply:
            raise NotImplementedError

        return sent  # type: ignore[return-value]


class WrongName:
    name: ClassVar[int] = 5
    stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        return send


Client(policies=[NoStage()])  # type: ignore[list-item]
Client(policies=[WrongName()])  # type: ignore[list-item]
