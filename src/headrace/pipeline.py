"""Orders policies and compiles them into one chain that ends in the transport."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from types import FrameType, TracebackType

from headrace.errors import HeadraceError, PluginError, PolicyError, SettingsError
from headrace.model import Event, Observer, Policy, Send, Stage
from headrace.plugin_manager import Plugins, check_observer, check_policy
from headrace.replies import checked
from headrace.settings import Settings

_log = logging.getLogger("headrace")


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


def chosen(
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


def compile_chain(policies: Sequence[Policy], send: Send) -> Send:
    """Fold ordered policies around ``send``.

    What policies have as ``wrap_attempt`` stands where attempts begin: inside all that repeat a call, and
    outside all that an attempt has to pass.
    """
    repeating = [policy for policy in policies if policy.stage <= Stage.PERSIST]
    for policy in reversed(policies[len(repeating) :]):
        send = _wrapped(policy, "wrap", send)
    for policy in reversed(policies):
        if hasattr(policy, "wrap_attempt"):
            send = _wrapped(policy, "wrap_attempt", send)
    for policy in reversed(repeating):
        send = _wrapped(policy, "wrap", send)
    return send


def _wrapped(policy: Policy, method: str, send: Send) -> Send:
    try:
        wrapped: Send = getattr(policy, method)(send)
    except HeadraceError:
        raise
    except Exception as error:
        raise PluginError(
            f"policy {policy.name!r}: {method} raised {type(error).__name__}: {error}"
        ) from error
    if not callable(wrapped):
        raise PluginError(f"policy {policy.name!r}: {method} returned {wrapped!r}, which cannot be called")
    return wrapped


def compile_observers(observers: Iterable[Observer]) -> Callable[[Event], None] | None:
    """One function that tells all observers, None where there are none.

    An observer that raises is named in the log and told nothing more: it must not fail the call that it
    only watches.
    """
    active = list(observers)
    if not active:
        return None

    def notify(event: Event) -> None:
        for observer in tuple(active):
            try:
                observer.notify(event)
            except Exception:
                active[:] = [other for other in active if other is not observer]
                _log.exception("observer %r raised and is told nothing more", observer.name)

    return notify


def culprit(policies: Sequence[Policy], traceback: TracebackType | None) -> str | None:
    """The name of the innermost policy whose own code is on ``traceback``, None if the transport raised.

    Looked up when something went wrong, so that a policy costs no wrapper when nothing does.
    """
    suspect: Policy | None = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") == checked.__module__:
            return None
        nearness = {policy.name: _nearness(policy, frame) for policy in policies}
        nearest_to = [policy for policy in policies if nearness[policy.name] == max(nearness.values()) > 0]
        if nearest_to and suspect not in nearest_to:
            suspect = nearest_to[0]
        traceback = traceback.tb_next
    return suspect.name if suspect else None


def foreign_failure(policies: Sequence[Policy], error: Exception) -> PolicyError:
    """What a client raises in place of an error that is nobody's of headrace: it says whose it is."""
    name = culprit(policies, error.__traceback__)
    who = f"policy {name!r}" if name else "the transport"
    return PolicyError(f"{who} raised {type(error).__name__}: {error}")


def _nearness(policy: Policy, frame: FrameType) -> int:
    """How near a frame is to a policy: it holds it, or runs its class's, module's or package's code."""
    if any(value is policy for value in frame.f_locals.values()):
        return 4
    module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
    for kind in type(policy).__mro__:
        if module == kind.__module__ and function.startswith(f"{kind.__qualname__}."):
            return 3
    home: str = type(policy).__module__
    if module == home:
        return 2
    return int(module.partition(".")[0] == home.partition(".")[0] != "headrace")
