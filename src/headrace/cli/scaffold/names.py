"""What a new plugin is called: in the shell, in settings, in Python."""

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
"""Characters of a name: lines of what is written hold it twice."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen
class Names:
    """The names of one plugin: ``rate-guard``, and what follows from it."""

    name: str

    @property
    def distribution(self) -> str:
        """What is installed: ``headrace-rate-guard``."""
        return f"{_PREFIX}{self.name}"

    @property
    def policy(self) -> str:
        """The policy and its section of settings, a keyword of `Client` too: ``rate_guard``."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """What is imported: ``headrace_rate_guard``."""
        return f"headrace_{self.policy}"

    @property
    def kind(self) -> str:
        """The policy's class: ``RateGuard``."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def names_of(name: str) -> Names:
    """The names for what was typed; ``headrace-foo`` means ``foo``.

    Raises `InputError` for a name that no policy can have, or that an installed one has.
    """
    names = Names(name.removeprefix(_PREFIX))
    if not _NAME.fullmatch(names.name) or len(names.name) > _LONGEST:
        raise InputError(
            f"{name!r} is no name for a plugin: lower-case letters, digits and single hyphens, "
            f"a letter first, {_LONGEST} characters at most, like rate-guard"
        )
    if any(keyword.iskeyword(word) for word in (names.policy, names.kind)):
        raise InputError(f"{name!r} is a word of Python's own; its settings could not be a keyword of Client")
    if names.policy in {*(Client.__init__.__kwdefaults__ or ()), *CoreSettings.__annotations__}:
        raise InputError(f"{name!r} is a setting of headrace's own; take another name")
    _check_free(names)
    return names


def _check_free(names: Names) -> None:
    plugins = Plugins()
    for plugin in plugins.found:
        if plugin.name == names.policy or plugin.distribution.lower() == names.distribution:
            raise InputError(f"{plugin} is installed already; take another name, or uninstall it")
    for plugin, policy in plugins.contributions(load_settings({})):
        if policy.name == names.policy:
            raise InputError(f"{plugin} has a policy called {policy.name!r} already; take another name")
