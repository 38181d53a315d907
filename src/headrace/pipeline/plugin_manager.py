"""Finds plugins and calls their hooks; checks what they bring."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import attrs
import pluggy

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
        """Register a plugin.

        Raises:
            PluginError: One of its functions looks like a hook but is not one, or takes an argument that its
                hook does not have; or the plugin's name is taken already.
        """
        self._check_names(plugin)
        try:
            self._manager.register(plugin.module, plugin.name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"{plugin}: {error}") from error
        self.found.append(plugin)

    def _check_names(self, plugin: Plugin) -> None:
        """Raise `PluginError` for a function that is meant as a hook and would never be called."""
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
        """What each plugin's implementation of ``hook`` returns, None left out."""
        return [(plugin, answer) for plugin in self.found for answer in self._ask(plugin, hook, arguments)]

    def _ask(self, plugin: Plugin, hook: str, arguments: dict[str, Any]) -> list[Any]:
        """What one plugin returns. Each is called on its own, so that an error names its plugin."""
        others = [other.module for other in self.found if other is not plugin]
        try:
            answers = self._manager.subset_hook_caller(hook, others)(**arguments)
        except SettingsError:
            raise
        except Exception as error:
            raise PluginError(f"{plugin}: {hook} raised {type(error).__name__}: {error}") from error
        return [answer for answer in answers if answer is not None]

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
        return [observer for _, observer in self.contributed_observers(settings)]

    def contributed_observers(self, settings: Settings) -> list[tuple[Plugin, Observer]]:
        """Each plugin's observers; raises `PluginError` for what is not an observer."""
        observers = []
        for plugin, given in self.call("headrace_observers", settings=settings):
            for observer in _each(plugin, "headrace_observers", given):
                check_observer(observer, str(plugin))
                observers.append((plugin, observer))
        return observers

    def transport(self, settings: Settings) -> Transport | None:
        """The one transport that plugins offer for these settings, None where they offer none."""
        offer = self.offered_transport(settings)
        return None if offer is None else offer[1]

    def offered_transport(self, settings: Settings) -> tuple[Plugin, Transport] | None:
        """That transport and its plugin; no plugin is asked where the settings name one of headrace's own.

        Raises `PluginError` for two offers, and for what is not a transport.
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
        """What each plugin brings as engines of bulk runs."""
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
        self._ask(plugin, "headrace_commands", {"cli": cli})


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
