"""The names of a new plugin: in the shell, in settings, in Python."""

from __future__ import annotations

import keyword
import re

import attrs

from headrace.client import Client
from headrace.errors import InputError
from headrace.pipeline.plugin_manager import Plugins
from headrace.settings import CoreSettings, load_settings

_PREFIX = "headrace-"
_LONGEST = 30
"""Characters of a name; some lines of the templates hold it twice."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen
class PluginNames:
    """The names of one plugin, which follow from ``name``, like ``rate-guard``."""

    name: str

    @property
    def distribution(self) -> str:
        """The distribution: ``headrace-rate-guard``."""
        return f"{_PREFIX}{self.name}"

    @property
    def policy(self) -> str:
        """The policy, its section of settings and its keyword of `Client`: ``rate_guard``."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The module: ``headrace_rate_guard``."""
        return f"headrace_{self.policy}"

    @property
    def kind(self) -> str:
        """The policy's class: ``RateGuard``."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def plugin_names(name: str) -> PluginNames:
    """The names of a plugin from the name that the user typed; ``headrace-foo`` means ``foo``.

    Raises `InputError` for a name that a policy cannot have, or that is taken.
    """
    names = PluginNames(name.removeprefix(_PREFIX))
    if not _NAME.fullmatch(names.name) or len(names.name) > _LONGEST:
        raise InputError(
            f"{name!r} is not a valid name for a plugin: use at most {_LONGEST} lower-case letters, digits "
            "and single hyphens, beginning with a letter, like rate-guard"
        )
    if any(keyword.iskeyword(word) for word in (names.policy, names.kind)):
        raise InputError(f"{name!r} is a keyword of Python; choose another name")
    if names.policy in {*(Client.__init__.__kwdefaults__ or ()), *CoreSettings.__annotations__}:
        raise InputError(f"{name!r} is a setting of headrace; choose another name")
    _check_free(names)
    return names


def _check_free(names: PluginNames) -> None:
    plugins = Plugins()
    for plugin in plugins.found:
        if plugin.name == names.policy or plugin.distribution.lower() == names.distribution:
            raise InputError(f"{plugin} is installed already; choose another name, or uninstall it")
    for plugin, policy in plugins.contributions(load_settings({})):
        if policy.name == names.policy:
            raise InputError(f"{plugin} already has a policy called {policy.name!r}; choose another name")
