"""The route policy: the async shell around `headrace_route.selection` and `headrace_route.rules`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, get_args

import attrs

from headrace import AnswerError, Call, CallError, Endpoint, Reply, Send, SettingsError, Stage, StreamResult
from headrace.plugins import estimate_prompt_tokens, max_output_tokens
from headrace_route.reasons import Reason, reason_of_error, reason_of_reply
from headrace_route.rules import Redirection, RedirectTarget, parse_target, resolve_redirection
from headrace_route.selection import Strategy, can_fail_over, error_to_raise, has_capacity, select_endpoint
from headrace_route.slots import SLOT_NOTE, EndpointSlot, EndpointSlots

_DEFAULT_OUTPUT_TOKENS = 500
"""Used to compare costs: the length of an answer without an output limit."""


def _valid_strategy(instance: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in get_args(Strategy):
        raise SettingsError(f"route: by={value!r}: must be one of {', '.join(get_args(Strategy))}")


@attrs.define(eq=False, kw_only=True)
class Route:
    """Selects an endpoint for each attempt, and fails over to the others when one fails.

    An endpoint with ``max_in_flight`` calls is skipped. If all are full, the call waits, by priority. After a
    5xx, a 429, a failed connection, a timeout, an open circuit, a rejected key or an unknown model, the call
    goes to the other endpoints at once, one attempt each. When all have failed, the last error is raised, and
    a retry policy may start again. A stream fails over until its first chunk.

    Args:
        by: Which endpoint comes first. "weight": random, by the endpoints' weights (the default).
            "least_in_flight": the one with the fewest calls in flight relative to its weight. "cost": the
            cheapest, by headrace-cost. "order": the first; the others are used when it fails.
        on_context_window: Target of a request that is too long for its model: ``"MODEL"``, ``"ENDPOINT"`` or
            ``"ENDPOINT/MODEL"`` (default None: no target). Each rule applies once per call.
        on_content_policy: The same for a request or an answer that a content filter stopped.
        on_refusal: The same for a request that the model refused.
        rng: Draws by weight.

    Raises:
        SettingsError: ``by`` is unknown, or a rule names an endpoint or model that the client does not have.
            If the policy is made in code, an invalid rule is found with the first call.
    """

    name = "route"
    stage = Stage.PERSIST

    by: Strategy = attrs.field(default="weight", validator=_valid_strategy)
    on_context_window: str | None = None
    on_content_policy: str | None = None
    on_refusal: str | None = None
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _slots: EndpointSlots = attrs.field(factory=EndpointSlots, init=False, repr=False)

    @property
    def rules(self) -> dict[Reason, str]:
        """The rules that are set, by reason."""
        values: dict[Reason, str | None] = {
            "context_window": self.on_context_window,
            "content_policy": self.on_content_policy,
            "refusal": self.on_refusal,
        }
        return {reason: value for reason, value in values.items() if value is not None}

    def targets(self, endpoints: Sequence[Endpoint]) -> dict[Reason, RedirectTarget]:
        """Return the target of each rule among ``endpoints``; raise `SettingsError` for an invalid rule."""
        return {
            reason: parse_target(f"on_{reason}", value, endpoints) for reason, value in self.rules.items()
        }

    def in_flight(self, name: str) -> int:
        """Return the number of calls in flight at the endpoint of this name."""
        return sum(number for endpoint, number in self._slots.in_flight.items() if endpoint.name == name)

    def reset(self) -> None:
        """Forget the calls in flight: their event loop has ended."""
        self._slots = EndpointSlots()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with failover to the call's endpoints, and to other models by the rules."""
        rules = self.rules

        def route(call: Call) -> Awaitable[Reply]:
            endpoints = call.endpoints
            if (len(endpoints) == 1 and endpoints[0].max_in_flight is None) or not endpoints:
                return send(call)
            return send_with_failover(call)

        async def send_with_failover(call: Call) -> Reply:
            untried, errors = list(call.endpoints), list[CallError]()
            while True:
                slot = await self._acquire_slot(call, untried)
                endpoint = call.endpoint = slot.endpoint
                call.notes[SLOT_NOTE] = slot
                try:
                    reply = await send(call)
                except CallError as error:
                    slot.release()
                    if not can_fail_over(error) or (rules and reason_of_error(error) in rules):
                        raise
                    errors.append(error)
                except BaseException:
                    slot.release()
                    raise
                else:
                    if call.streamed:
                        call.add_done_callback(slot.stream_ended)
                    else:
                        slot.release()
                    return reply
                untried.remove(endpoint)
                if not untried:
                    raise error_to_raise(errors)
                call.notify("failover", endpoint=endpoint.name, error=errors[-1].code)

        return self._with_rules(route) if rules else route

    def wrap_attempt(self, send: Send) -> Send:
        """Return ``send`` such that a call releases its slot while it waits in an inner policy."""

        def attempt(call: Call) -> Awaitable[Reply]:
            slot: EndpointSlot | None = call.notes.get(SLOT_NOTE)
            if slot is None or slot.endpoint.max_in_flight is None:
                return send(call)
            return send_in_slot(slot, call)

        async def send_in_slot(slot: EndpointSlot, call: Call) -> Reply:
            await call.acquire(slot.as_limiter())
            return await send(call)

        return attempt

    def _with_rules(self, send: Send) -> Send:
        """Return ``send`` that sends a call again to the target of a matching rule."""
        targets: dict[Reason, RedirectTarget] = {}

        async def send_by_rules(call: Call) -> Reply:
            if not call.all_endpoints:  # the call of an SDK, which has one endpoint and its own models
                return await send(call)
            if not targets:
                targets.update(self.targets(call.all_endpoints))
            while True:
                try:
                    reply = await send(call)
                except CallError as error:
                    reason, code = reason_of_error(error), error.code
                    redirected = self._resolve_redirection(call, targets, reason)
                    if redirected is None:
                        raise
                else:
                    reason, code = reason_of_reply(reply), AnswerError.code
                    redirected = self._resolve_redirection(call, targets, reason)
                    if redirected is None:
                        return reply
                    if reply.stream is not None:
                        await reply.stream.aclose()
                    # Policies may wait for the end of this attempt.
                    call.end(StreamResult(complete=True))
                previous = call.endpoint.name
                redirected.apply(call)
                call.notes[self.name] = {*call.notes.get(self.name, ()), reason}
                call.notify(
                    "failover", endpoint=previous, error=code, reason=reason, model=call.request.model
                )

        return send_by_rules

    def _resolve_redirection(
        self, call: Call, targets: dict[Reason, RedirectTarget], reason: Reason | None
    ) -> Redirection | None:
        """Return the redirection for ``reason``; None if it has no rule, or the rule was already applied."""
        if reason not in targets or reason in call.notes.get(self.name, ()):
            return None
        return resolve_redirection(call, targets[reason])

    async def _acquire_slot(self, call: Call, endpoints: list[Endpoint]) -> EndpointSlot:
        """Take a slot at one of these endpoints; wait if none is free."""
        slots, in_flight = self._slots, self._slots.in_flight
        free = [each for each in endpoints if has_capacity(each, in_flight[each])]
        if not free:
            async with call.waiting():
                endpoint = await slots.acquire(endpoints, call.priority)
        else:
            endpoint = select_endpoint(self.by, free, in_flight, self._cost_function(call), self.rng)
            in_flight[endpoint] += 1
        return EndpointSlot(slots, endpoint, call)

    def _cost_function(self, call: Call) -> Callable[[Endpoint], Decimal | None]:
        """Return a function from an endpoint to the cost of the call there, by headrace-cost."""
        if self.by != "cost":
            return _no_cost
        estimate, model = call.notes.get("cost"), call.request.model
        if estimate is None:
            raise SettingsError(
                "route: by='cost': needs headrace-cost; install it, or add Cost() to policies"
            )
        if model is None:
            return _no_cost
        output = max_output_tokens(call.request.body or {}, _DEFAULT_OUTPUT_TOKENS)
        return lambda endpoint: estimate(model, estimate_prompt_tokens(call.content), output, endpoint)


def _no_cost(endpoint: Endpoint) -> None:
    """Return the cost of a call without a price."""
