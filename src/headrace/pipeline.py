"""Finds plugins, orders policies and compiles them into one chain that ends in the transport."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import anyio
import attrs
import pluggy
from anyio.lowlevel import checkpoint

from headrace import hookspecs
from headrace.attribution import wrap_unexpected
from headrace.chain import compile_chain, compile_observers
from headrace.errors import (
    CallError,
    ClientStateError,
    DeadlineExceeded,
    HeadraceError,
    PluginError,
    SettingsError,
    nearest,
)
from headrace.lifespans import TRANSPORT, Part
from headrace.model import Call, Observer, Policy, Send, Stage
from headrace.redacted_errors import redact_error
from headrace.reply import Reply
from headrace.settings import Settings
from headrace.tokens import Limiter
from headrace.transports import Transport

GROUP = "headrace"


@attrs.frozen
class Plugin:
    """An installed plugin: its entry point's name, its distribution and version, and what it registers."""

    name: str
    distribution: str
    version: str
    module: Any = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


class Plugins:
    """The plugins one client or command line sees: installed ones, found once, under one manager."""

    def __init__(self) -> None:
        import importlib.metadata  # not with the module: it takes a tenth of headrace's own import

        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.found: list[Plugin] = []
        for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
            distribution = entry.dist.name if entry.dist else "?"
            version = entry.dist.version if entry.dist else "?"
            try:
                module = entry.load()
            except Exception as error:
                raise PluginError(
                    f"plugin {entry.name!r} ({distribution} {version}) does not import: "
                    f"{type(error).__name__}: {error}; repair or uninstall {distribution}"
                ) from error
            self.add(Plugin(entry.name, distribution, version, module))

    def add(self, plugin: Plugin) -> None:
        """Register a plugin; raises `PluginError` for a misspelt hook or a name taken already."""
        try:
            self._manager.register(plugin.module, plugin.name)
            self._manager.check_pending()
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"{plugin}: {error}") from error
        self.found.append(plugin)

    def call(self, hook: str, **arguments: Any) -> list[tuple[Plugin, Any]]:
        """What each plugin's implementation of ``hook`` returns, None left out.

        Each is called on its own, so that an error names its plugin.
        """
        results = []
        for plugin in self.found:
            others = [other.module for other in self.found if other is not plugin]
            try:
                answers = self._manager.subset_hook_caller(hook, others)(**arguments)
            except SettingsError:
                raise
            except Exception as error:
                raise PluginError(f"{plugin}: {hook} raised {type(error).__name__}: {error}") from error
            results += [(plugin, answer) for answer in answers if answer is not None]
        return results

    def contributions(self, settings: Settings) -> list[tuple[Plugin, Policy]]:
        """Each plugin's policies; raises `PluginError` for what is no policy, or has another's name."""
        owners: dict[str, Plugin] = {}
        contributions = []
        for plugin, policies in self.call("headrace_policies", settings=settings):
            for policy in _each(plugin, "headrace_policies", policies):
                check_policy(policy, str(plugin))
                if policy.name in owners:
                    raise PluginError(
                        f"{plugin} and {owners[policy.name]} both bring a policy called {policy.name!r}; "
                        "uninstall one of them"
                    )
                owners[policy.name] = plugin
                contributions.append((plugin, policy))
        return contributions

    def policies(self, settings: Settings) -> list[Policy]:
        """The policies of all plugins, or those of them that ``settings.core.policies`` names."""
        found = {policy.name: policy for _, policy in self.contributions(settings)}
        if settings.core.policies is None:
            return list(found.values())
        for name in settings.core.policies:
            if name not in found:
                raise SettingsError(f"no plugin has a policy called {name!r}; {nearest(name, found)}")
        return [found[name] for name in settings.core.policies]

    def observers(self, settings: Settings) -> list[Observer]:
        """The observers of all plugins."""
        observers = []
        for plugin, given in self.call("headrace_observers", settings=settings):
            for observer in _each(plugin, "headrace_observers", given):
                check_observer(observer, str(plugin))
                observers.append(observer)
        return observers

    def transport(self, settings: Settings) -> Transport | None:
        """The one transport that plugins offer for these settings, None where they offer none."""
        offers = self.call("headrace_transport", settings=settings)
        if len(offers) > 1:
            names = " and ".join(str(plugin) for plugin, _ in offers)
            raise PluginError(f"{names} both offer a transport; uninstall one of them, or pass transport=")
        for plugin, answers in offers:
            if not isinstance(answers, Transport):
                raise PluginError(f"{plugin}: headrace_transport returned {answers!r}, which is no transport")
            return answers
        return None

    def engines(self) -> list[tuple[Plugin, Any]]:
        """What each plugin brings as engines of bulk runs."""
        return [
            (plugin, engine)
            for plugin, engines in self.call("headrace_engines")
            for engine in _each(plugin, "headrace_engines", engines)
        ]

    def commands(self, cli: Any) -> None:
        """Let plugins add their commands to the command line."""
        self.call("headrace_commands", cli=cli)


def _each(plugin: Plugin, hook: str, answer: Any) -> Iterable[Any]:
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Iterable):
        raise PluginError(f"{plugin}: {hook} returned {answer!r}, which is no list")
    try:
        return list(answer)
    except SettingsError:
        raise
    except Exception as error:  # a hook written as a generator does its work only here
        raise PluginError(f"{plugin}: {hook} raised {type(error).__name__}: {error}") from error


def check_observer(observer: Any, source: str) -> None:
    """Raise `PluginError`, naming ``source``, for something that is no observer."""
    if isinstance(observer, type) or not isinstance(observer, Observer):
        raise PluginError(f"{source}: {observer!r} is no observer: it needs name and notify")


def check_policy(policy: Any, source: str) -> None:
    """Raise `PluginError`, naming ``source``, for something that is no policy."""
    if isinstance(policy, type):
        name = policy.__name__
        raise PluginError(f"{source}: {name} is a class, not a policy; did you mean {name}()?")
    if not isinstance(policy, Policy):
        raise PluginError(f"{source}: {policy!r} is no policy: it needs name, stage and wrap(send)")
    if not isinstance(policy.name, str):
        raise PluginError(f"{source}: {policy!r} has name {policy.name!r}, which is no text")
    if not isinstance(policy.stage, Stage):
        raise PluginError(f"{source}: {policy.name!r} has stage {policy.stage!r}, which is no headrace.Stage")


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
        self.policies = tuple(policies)
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
