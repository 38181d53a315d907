"""Finds plugins, calls their hooks, and checks what the hooks return."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import attrs
import pluggy

from headrace._support.interrupts import hides_interrupt
from headrace._support.text import nearest
from headrace.errors import PluginError, SettingsError
from headrace.pipeline import hookspecs
from headrace.policies import Observer, Policy, Stage
from headrace.settings import Settings
from headrace.transports import Transport
from headrace.transports.factory import OWN_TRANSPORTS

GROUP = "headrace"
_PREFIX = f"{GROUP}_"
_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(_PREFIX))


@attrs.frozen
class Plugin:
    """An installed plugin: the name of its entry point, its distribution and version, and its module."""

    name: str
    distribution: str
    version: str
    module: Any = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


class Plugins:
    """All installed plugins, for one client or command line."""

    def __init__(self) -> None:
        import importlib.metadata  # imported late: it takes a tenth of the time of `import headrace`

        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.found: list[Plugin] = []
        for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
            distribution = entry.dist.name if entry.dist else "?"
            version = entry.dist.version if entry.dist else "?"
            try:
                module = entry.load()
            except Exception as error:
                if hides_interrupt(error):
                    raise KeyboardInterrupt from error
                raise PluginError(
                    f"plugin {entry.name!r} ({distribution} {version}) does not import: "
                    f"{type(error).__name__}: {error}; repair or uninstall {distribution}"
                ) from error
            self.add(Plugin(entry.name, distribution, version, module))

    def add(self, plugin: Plugin) -> None:
        """Register a plugin.

        Raises:
            PluginError: A function looks like a hook but is not one, or takes an argument that its hook does
                not have, or a plugin of this name is registered already.
        """
        self._check_names(plugin)
        try:
            self._manager.register(plugin.module, plugin.name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"{plugin}: {error}") from error
        self.found.append(plugin)

    def _check_names(self, plugin: Plugin) -> None:
        """Raise `PluginError` for a function that looks like a hook but would never be called."""
        for name in dir(plugin.module):
            if name.startswith("__"):
                continue
            marked = self._manager.parse_hookimpl_opts(plugin.module, name)
            if marked is None and not (
                name.startswith(_PREFIX) and inspect.isroutine(inspect.getattr_static(plugin.module, name))
            ):
                continue
            hook = (marked and marked.get("specname")) or name
            if hook not in _HOOKS and not (marked and marked.get("optionalhook")):
                raise PluginError(f"{plugin}: {hook} is not a hook; {nearest(hook, _HOOKS)}")
            if marked is None:
                raise PluginError(
                    f"{plugin}: {name} is not marked as a hook and would not be called; "
                    "put @headrace.hookimpl above it"
                )

    def hooks_of(self, plugin: Plugin) -> set[str]:
        """The names of the hooks that a plugin implements."""
        return {caller.name for caller in self._manager.get_hookcallers(plugin.module) or ()}

    def call(self, hook: str, **arguments: Any) -> list[tuple[Plugin, Any]]:
        """The results of ``hook`` of all plugins, without None."""
        return [
            (plugin, result) for plugin in self.found for result in self._call_one(plugin, hook, arguments)
        ]

    def _call_one(self, plugin: Plugin, hook: str, arguments: dict[str, Any]) -> list[Any]:
        """The results of ``hook`` of one plugin, called alone so that errors can name the plugin."""
        others = [other.module for other in self.found if other is not plugin]
        try:
            results = self._manager.subset_hook_caller(hook, others)(**arguments)
        except SettingsError:
            raise
        except Exception as error:
            raise PluginError(f"{plugin}: {hook} raised {type(error).__name__}: {error}") from error
        return [result for result in results if result is not None]

    def contributions(self, settings: Settings) -> list[tuple[Plugin, Policy]]:
        """The policies of each plugin; raises `PluginError` for an invalid policy or a duplicate name."""
        owners: dict[str, Plugin] = {}
        contributions = []
        for plugin, policies in self.call("headrace_policies", settings=settings):
            for policy in _each(plugin, "headrace_policies", policies):
                check_policy(policy, str(plugin))
                if policy.name in owners:
                    raise PluginError(
                        f"{plugin} and {owners[policy.name]} both have a policy called {policy.name!r}; "
                        "uninstall one of them"
                    )
                owners[policy.name] = plugin
                contributions.append((plugin, policy))
        return contributions

    def policies(self, settings: Settings) -> list[Policy]:
        """The policies of all plugins, or only those named in ``settings.core.policies``."""
        found = {policy.name: policy for _, policy in self.contributions(settings)}
        if settings.core.policies is None:
            return list(found.values())
        for name in settings.core.policies:
            if name not in found:
                raise SettingsError(f"no plugin has a policy called {name!r}; {nearest(name, found)}")
        return [found[name] for name in settings.core.policies]

    def observers(self, settings: Settings) -> list[Observer]:
        """The observers of all plugins."""
        return [observer for _, observer in self.contributed_observers(settings)]

    def contributed_observers(self, settings: Settings) -> list[tuple[Plugin, Observer]]:
        """The observers of each plugin; raises `PluginError` for an invalid observer."""
        observers = []
        for plugin, contributed in self.call("headrace_observers", settings=settings):
            for observer in _each(plugin, "headrace_observers", contributed):
                check_observer(observer, str(plugin))
                observers.append((plugin, observer))
        return observers

    def transport(self, settings: Settings) -> Transport | None:
        """The transport of a plugin for these settings; None if no plugin offers one."""
        offer = self.offered_transport(settings)
        return None if offer is None else offer[1]

    def offered_transport(self, settings: Settings) -> tuple[Plugin, Transport] | None:
        """The plugin's transport with its plugin; None also if the settings name one of headrace's own
        transports.

        Raises:
            PluginError: Two plugins offer a transport, or a result is not a transport.
        """
        if settings.core.transport in OWN_TRANSPORTS:
            return None
        offers = self.call("headrace_transport", settings=settings)
        if len(offers) > 1:
            names = " and ".join(str(plugin) for plugin, _ in offers)
            raise PluginError(f"{names} both offer a transport; uninstall one of them, or pass transport=")
        for plugin, offered in offers:
            if not isinstance(offered, Transport):
                raise PluginError(
                    f"{plugin}: headrace_transport returned {offered!r}, which is not a transport"
                )
            return plugin, offered
        return None

    def engines(self) -> list[tuple[Plugin, Any]]:
        """The engines of each plugin, not checked."""
        return [
            (plugin, engine)
            for plugin, engines in self.call("headrace_engines")
            for engine in _each(plugin, "headrace_engines", engines)
        ]

    def commands(self, cli: Any) -> None:
        """Let plugins add their commands to the command line."""
        self.call("headrace_commands", cli=cli)

    def commands_of(self, plugin: Plugin, cli: Any) -> None:
        """Let one plugin add its commands."""
        self._call_one(plugin, "headrace_commands", {"cli": cli})


def _each(plugin: Plugin, hook: str, result: Any) -> Iterable[Any]:
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise PluginError(f"{plugin}: {hook} returned {result!r}, which is not a list")
    try:
        return list(result)
    except SettingsError:
        raise
    except Exception as error:  # a hook that is a generator runs only here
        raise PluginError(f"{plugin}: {hook} raised {type(error).__name__}: {error}") from error


def check_observer(observer: Any, source: str) -> None:
    """Raise a `PluginError` that names ``source`` if ``observer`` is not an observer."""
    if isinstance(observer, type) or not isinstance(observer, Observer):
        raise PluginError(f"{source}: {observer!r} is not an observer: it needs name and notify(event)")


def check_policy(policy: Any, source: str) -> None:
    """Raise a `PluginError` that names ``source`` if ``policy`` is not a policy."""
    if isinstance(policy, type):
        name = policy.__name__
        raise PluginError(f"{source}: {name} is a class, not a policy; did you mean {name}()?")
    if not isinstance(policy, Policy):
        raise PluginError(f"{source}: {policy!r} is not a policy: it needs name, stage and wrap(send)")
    if not isinstance(policy.name, str):
        raise PluginError(f"{source}: {policy!r} has name {policy.name!r}, which is not a str")
    if not isinstance(policy.stage, Stage):
        raise PluginError(
            f"{source}: {policy.name!r} has stage {policy.stage!r}, which is not a headrace.Stage"
        )
