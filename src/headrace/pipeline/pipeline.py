"""Orders policies and compiles them into one chain that ends in the transport."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio
from anyio.lowlevel import checkpoint

from headrace._support.interrupts import uninterrupted
from headrace.calls import Call
from headrace.errors import (
    CallError,
    ClientStateError,
    DeadlineExceeded,
    HeadraceError,
    PluginError,
    SettingsError,
)
from headrace.pipeline.chain import compile_chain, compile_observers
from headrace.pipeline.error_attribution import wrap_unexpected
from headrace.pipeline.lifespans import TRANSPORT, Part
from headrace.pipeline.plugin_manager import Plugins, check_observer, check_policy
from headrace.policies import Observer, Policy, Send
from headrace.replies import Reply
from headrace.settings import Settings
from headrace.tokens import Limiter
from headrace.transports import Transport
from headrace.wire.error_redaction import redact_error


def ordered(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Policies outermost first: by stage, within a stage by name; raises `PluginError` for a name twice."""
    result = sorted(policies, key=lambda policy: (policy.stage, policy.name))
    names = [policy.name for policy in result]
    for name in names:
        if names.count(name) > 1:
            raise PluginError(f"two policies are called {name!r}; a client takes one of a name")
    return tuple(result)


def checked_policies(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """What was given as ``policies=``, in order; raises `SettingsError` for what is no list of policies."""
    if isinstance(policies, str) or not isinstance(policies, Iterable):
        raise SettingsError(f"policies={policies!r} is no list of policies, like [Retry()]")
    given = tuple(policies)
    for policy in given:
        check_policy(policy, "policies=")
    return ordered(given)


def resolve_policies(
    policies: Iterable[Policy] | None,
    observers: Iterable[Observer],
    plugins: Plugins | None,
    settings: Settings,
) -> tuple[tuple[Policy, ...], list[Observer]]:
    """The policies of a client, in order, and all who are told of events: policies among them, and observers.

    ``policies`` are just those, or with None those of ``plugins``, whose observers come as well. Raises
    `SettingsError` or `PluginError`.
    """
    own = list(observers)
    for observer in own:
        check_observer(observer, "observers=")
    if policies is not None:
        active = checked_policies(policies)
    else:
        assert plugins is not None
        active = ordered(plugins.policies(settings))
        own = [*plugins.observers(settings), *own]
    return active, [*(policy for policy in active if isinstance(policy, Observer)), *own]


class Pipeline:
    """What every call goes through: policies, the token of an attempt, a deadline, and errors that say whose.

    Args:
        policies: Outermost first.
        observers: Those who are told of events.
        limiter: Gives each attempt its token.
        send: Makes an attempt.

    Attributes:
        closed: Why no attempt is made any more; None while there is no reason.
    """

    def __init__(
        self, policies: Sequence[Policy], observers: Iterable[Observer], limiter: Limiter, send: Send
    ) -> None:
        self.policies: tuple[Policy, ...] = tuple(policies)
        self.limiter = limiter
        self.closed: str | None = None
        self._observers = list(observers)
        self.notify = compile_observers(self._observers)
        self._send = compile_chain(self.policies, send, limiter, self._check_open)

    def observe(self, observer: Observer) -> None:
        """Have one more observer told of events."""
        self._observers.append(observer)
        self.notify = compile_observers(self._observers)

    def parts(self, transport: Transport) -> list[Part]:
        """What is opened and closed with a client: from the transport outwards."""
        parts = [Part(TRANSPORT, transport), Part("the limiter", self.limiter)]
        return parts + [Part(f"policy {policy.name!r}", policy) for policy in reversed(self.policies)]

    def _check_open(self) -> None:
        if self.closed is not None:
            raise ClientStateError(self.closed)

    @uninterrupted
    async def perform(self, call: Call) -> Reply:
        """Send a call through, within its deadline; complete its reply or its error.

        This is a checkpoint in any case: an attempt is one, and so is an answer or a refusal without any.

        Raises:
            HeadraceError: The call failed.
        """
        try:
            if call.deadline is None:
                reply = await self._send(call)
            else:
                with anyio.CancelScope(deadline=call.deadline) as scope:
                    reply = await self._send(call)
                if scope.cancelled_caught:
                    raise deadline_exceeded(call)
            reply.attempts = call.attempts
            reply.elapsed = call.now() - call.started
            reply.queued = call.queued
        except CallError as error:
            error.request, error.attempts = call.request, call.attempts
            if not call.attempts:
                await checkpoint()
            raise
        except HeadraceError:
            if not call.attempts:
                await checkpoint()
            raise
        except Exception as error:
            failure = wrap_unexpected(self.policies, error)
            redact_error(failure, call.endpoint)
            failure.request, failure.attempts = call.request, call.attempts
            raise failure from error
        if not call.attempts:
            await checkpoint()
        return reply


def deadline_exceeded(call: Call) -> DeadlineExceeded:
    """The error of a call whose deadline has passed."""
    error = DeadlineExceeded(
        f"no answer within the request's deadline of {call.request.deadline:g} s ({call.attempts} attempts)",
        "deadline",
    )
    error.request, error.attempts = call.request, call.attempts
    return error
