"""The route policy: the async shell around `headrace_route.choice`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, get_args

import attrs

from headrace import AnswerError, Call, CallError, Endpoint, Reply, Send, SettingsError, Stage, StreamResult
from headrace.plugins import max_output_tokens
from headrace_route.choice import By, choose, goes_elsewhere, has_room, told
from headrace_route.reasons import Reason, reason_of_error, reason_of_reply
from headrace_route.room import ROOM, Room, Rooms
from headrace_route.rules import Redirection, Target, redirection, target_of

_BYTES_A_TOKEN = 4
_OUTPUT_TOKENS = 500
"""What costs are compared by: a token is taken for four bytes, an answer for so long if nothing limits it."""


def _known(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in get_args(By):
        raise SettingsError(f"route: by={value!r}: must be one of {', '.join(get_args(By))}")


@attrs.define(eq=False, kw_only=True)
class Route:
    """Chooses the endpoint of each try among those that serve the model, and goes on where one fails.

    An endpoint that has ``max_in_flight`` calls is passed over, and where all have, the call waits, by
    priority. A try that another endpoint may mend (5xx, 429, no connection, a timeout, an open circuit, a
    refused key, a model not known there) goes to the others at once, each once; then the last error is
    raised, and a retry policy may begin again. A stream is asked for again until its first piece.

    Args:
        by: "weight" draws by the endpoints' weights (the default); "least_in_flight" takes the one with the
            fewest calls under way for its weight; "cost" the cheapest by headrace-cost; "order" the first, so
            that the others are there for when it fails.
        on_context_window: Who is asked in place of a model that turned the request down for its length, as
            ``"MODEL"``, ``"ENDPOINT"`` or ``"ENDPOINT/MODEL"`` (default None: nobody). Each of these rules
            applies once to a call.
        on_content_policy: The same for a request that a filter stopped.
        on_refusal: The same for one that the model refused.
        rng: What is drawn by.

    Raises:
        SettingsError: ``by`` is another word, or, with the first call, a rule names nothing that the client's
            endpoints have.
    """

    name = "route"
    stage = Stage.PERSIST

    by: By = attrs.field(default="weight", validator=_known)
    on_context_window: str | None = None
    on_content_policy: str | None = None
    on_refusal: str | None = None
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _rooms: Rooms = attrs.field(factory=Rooms, init=False, repr=False)

    @property
    def rules(self) -> dict[Reason, str]:
        """The rules that are set, by reason."""
        values: dict[Reason, str | None] = {
            "context_window": self.on_context_window,
            "content_policy": self.on_content_policy,
            "refusal": self.on_refusal,
        }
        return {reason: value for reason, value in values.items() if value is not None}

    def targets(self, endpoints: Sequence[Endpoint]) -> dict[Reason, Target]:
        """What the rules name among ``endpoints``; raises `SettingsError` where one names nothing."""
        return {reason: target_of(f"on_{reason}", value, endpoints) for reason, value in self.rules.items()}

    def in_flight(self, name: str) -> int:
        """How many calls the endpoint of this name has under way."""
        return sum(number for endpoint, number in self._rooms.in_flight.items() if endpoint.name == name)

    def reset(self) -> None:
        """Forget what is under way: its event loop has ended."""
        self._rooms = Rooms()

    def wrap(self, send: Send) -> Send:
        """``send`` to one of the call's endpoints after the other, and by the rules to another model."""
        rules = self.rules

        def route(call: Call) -> Awaitable[Reply]:
            endpoints = call.endpoints
            if (len(endpoints) == 1 and endpoints[0].max_in_flight is None) or not endpoints:
                return send(call)
            return spread(call)

        async def spread(call: Call) -> Reply:
            untried, errors = list(call.endpoints), list[CallError]()
            while True:
                room = await self._take_room(call, untried)
                endpoint = call.endpoint = room.endpoint
                call.notes[ROOM] = room
                try:
                    reply = await send(call)
                except CallError as error:
                    room.leave()
                    if not goes_elsewhere(error) or (rules and reason_of_error(error) in rules):
                        raise
                    errors.append(error)
                except BaseException:
                    room.leave()
                    raise
                else:
                    if call.streamed:
                        call.add_done_callback(room.stream_ended)
                    else:
                        room.leave()
                    return reply
                untried.remove(endpoint)
                if not untried:
                    raise told(errors)
                call.notify("failover", endpoint=endpoint.name, error=errors[-1].code)

        return self._by_rules(route) if rules else route

    def wrap_attempt(self, send: Send) -> Send:
        """``send``, whose room at the endpoint is given back while it waits further in."""

        def attempt(call: Call) -> Awaitable[Reply]:
            room: Room | None = call.notes.get(ROOM)
            if room is None or room.endpoint.max_in_flight is None:
                return send(call)
            return in_room(room, call)

        async def in_room(room: Room, call: Call) -> Reply:
            await call.acquire(room.as_limiter())
            return await send(call)

        return attempt

    def _by_rules(self, send: Send) -> Send:
        """``send``, and again where the answer says that another model is to be asked."""
        targets: dict[Reason, Target] = {}

        async def ask(call: Call) -> Reply:
            if not call.all_endpoints:  # of an SDK, which has one endpoint and its own models
                return await send(call)
            if not targets:
                targets.update(self.targets(call.all_endpoints))
            while True:
                try:
                    reply = await send(call)
                except CallError as error:
                    reason, code = reason_of_error(error), error.code
                    redirected = self._redirection(call, targets, reason)
                    if redirected is None:
                        raise
                else:
                    reason, code = reason_of_reply(reply), AnswerError.code
                    redirected = self._redirection(call, targets, reason)
                    if redirected is None:
                        return reply
                    if reply.stream is not None:
                        await reply.stream.aclose()
                    call.end(
                        StreamResult(complete=True)
                    )  # for policies that wait for the end of this attempt
                left = call.endpoint.name
                redirected.apply(call)
                call.notes[self.name] = {*call.notes.get(self.name, ()), reason}
                call.notify("failover", endpoint=left, error=code, reason=reason, model=call.request.model)

        return ask

    def _redirection(
        self, call: Call, targets: dict[Reason, Target], reason: Reason | None
    ) -> Redirection | None:
        """Where the rule for ``reason`` sends a call; None without a rule, or where it has applied."""
        if reason not in targets or reason in call.notes.get(self.name, ()):
            return None
        return redirection(call, targets[reason])

    async def _take_room(self, call: Call, endpoints: list[Endpoint]) -> Room:
        """Room at one of these endpoints."""
        rooms, in_flight = self._rooms, self._rooms.in_flight
        free = [each for each in endpoints if has_room(each, in_flight[each])]
        if not free:
            async with call.waiting():
                endpoint = await rooms.wait(endpoints, call.priority)
        else:
            endpoint = choose(self.by, free, in_flight, self._pricing(call), self.rng)
            in_flight[endpoint] += 1
        return Room(rooms, endpoint, call)

    def _pricing(self, call: Call) -> Callable[[Endpoint], Decimal | None]:
        """What the call costs at an endpoint, as headrace-cost has it."""
        if self.by != "cost":
            return _no_cost
        estimate, model = call.notes.get("cost"), call.request.model
        if estimate is None:
            raise SettingsError("route: by='cost' needs headrace-cost; install it, or name it in policies")
        if model is None:
            return _no_cost
        output = max_output_tokens(call.request.body or {}, _OUTPUT_TOKENS)
        return lambda endpoint: estimate(model, len(call.content) // _BYTES_A_TOKEN, output, endpoint)


def _no_cost(endpoint: Endpoint) -> None:
    """For what has no price."""
