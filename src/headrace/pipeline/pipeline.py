"""The pipeline of a client: its ordered policies, compiled into one chain that ends in the transport."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio
from anyio.lowlevel import checkpoint

from headrace._support.interrupts import uninterrupted
from headrace._support.units import format_count
from headrace.calls import Call
from headrace.errors import (
    CallError,
    ClientStateError,
    DeadlineExceeded,
    HeadraceError,
    PluginError,
    SettingsError,
)
from headrace.limiter_tokens import Limiter
from headrace.pipeline.chain import compile_chain, compile_observers
from headrace.pipeline.error_attribution import wrap_unexpected
from headrace.pipeline.lifespans import TRANSPORT, Component
from headrace.pipeline.plugin_manager import Plugins, check_observer, check_policy
from headrace.policies import Observer, Policy, Send
from headrace.replies import Reply
from headrace.settings import Settings
from headrace.transports import Transport
from headrace.wire.error_redaction import redact_error


def sort_policies(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Policies outermost first: by stage, then by name; raises `PluginError` for a duplicate name."""
    result = sorted(policies, key=lambda policy: (policy.stage, policy.name))
    names = [policy.name for policy in result]
    for name in names:
        if names.count(name) > 1:
            raise PluginError(f"two policies are called {name!r}; remove one of them")
    return tuple(result)


def validate_policies(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The value of ``policies=``, sorted; raises `SettingsError` or `PluginError`."""
    if isinstance(policies, str) or not isinstance(policies, Iterable):
        raise SettingsError(f"policies={policies!r}: must be a list of policies, like [Retry()]")
    listed = tuple(policies)
    for policy in listed:
        check_policy(policy, "policies=")
    return sort_policies(listed)


def resolve_policies(
    policies: Iterable[Policy] | None,
    observers: Iterable[Observer],
    plugins: Plugins | None,
    settings: Settings,
) -> tuple[tuple[Policy, ...], list[Observer]]:
    """The sorted policies of a client, and all its observers, including policies with ``notify``.

    Args:
        policies: Exactly these; None for those of ``plugins``, together with the observers of ``plugins``.
        observers: Further observers.
        plugins: Needed if ``policies`` is None.
        settings: The settings of the client.

    Raises:
        SettingsError: ``policies`` is not a list.
        PluginError: A policy or observer is not valid, or two policies have the same name.
    """
    own = list(observers)
    for observer in own:
        check_observer(observer, "observers=")
    if policies is not None:
        active = validate_policies(policies)
    else:
        assert plugins is not None
        active = sort_policies(plugins.policies(settings))
        own = [*plugins.observers(settings), *own]
    return active, [*(policy for policy in active if isinstance(policy, Observer)), *own]


class Pipeline:
    """Runs each call through its policies, tokens and deadline, and completes its reply or error.

    Args:
        policies: Outermost first.
        observers: Receive events.
        limiter: Gives each attempt its token.
        send: Makes an attempt.

    Attributes:
        closed: Why no more attempts are made; None while the pipeline is in use.
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
        """Add an observer."""
        self._observers.append(observer)
        self.notify = compile_observers(self._observers)

    def components(self, transport: Transport) -> list[Component]:
        """The components that a client opens and closes, transport first."""
        components = [Component(TRANSPORT, transport), Component("the limiter", self.limiter)]
        policies = [Component(f"policy {policy.name!r}", policy) for policy in reversed(self.policies)]
        return components + policies

    def _check_open(self) -> None:
        if self.closed is not None:
            raise ClientStateError(self.closed)

    @uninterrupted
    async def perform(self, call: Call) -> Reply:
        """Send a call through the pipeline within its deadline, and complete its reply or error.

        This is always a checkpoint, also if a policy answers or rejects the call without an attempt.

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
    """The error for a call whose deadline has passed."""
    error = DeadlineExceeded(
        f"no answer within the request's deadline of {call.request.deadline:g} s "
        f"({format_count(call.attempts, 'attempt')})",
        "deadline",
    )
    error.request, error.attempts = call.request, call.attempts
    return error
